"""What a network knows with few labels: whole pictures of one object, and objects behind hidden patches.

All weights are fine-tuned, with two numbers of updates, so that a network from scratch has the one that favours it.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tinyvlm.experiments.few_labels import HiddenNounTask, Labelled, LabelledScenes, named_patches
from tinyvlm.experiments.pretrain import Report, single_sprites
from tinyvlm.experiments.readout import features, ridge
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.verdicts import Metrics
from tinyvlm.models.beit import BEiT, BEiTClassifier
from tinyvlm.models.vit import ViTTask
from tinyvlm.training import fit

if TYPE_CHECKING:
    from tinyvlm.experiments.week06 import Budget

SHARE = 0.4  # of the patches are hidden, as in the paper


def fine_tune(
    model: BEiT,
    labelled: Labelled,
    updates: int,
    seed: int,
    budget: "Budget",
    progress: str | None = None,
    on_step: Report | None = None,
) -> BEiTClassifier:
    """A classifier that starts from the network, all of it trained on the labelled pictures, epoch after epoch.

    The new head has a rate of its own: it starts near zero, and the network does not.
    """
    torch.manual_seed(seed)
    classifier = BEiTClassifier.from_pretraining(model, budget.nouns)
    source = labelled.source(budget.fine_batch, examples=len(labelled))
    network, head = adamw(budget.fine_lr, parameters=r"^(?!.*\bhead\b)"), adamw(budget.head_lr, parameters=r"\bhead\b")
    stages = stage("fine-tune", updates, source, network, head)
    fit(ViTTask(classifier), stages, seed=seed, progress=progress, on_step=on_step)
    return classifier.eval()


def accuracy(classifier: BEiTClassifier, shown: dict[str, Tensor]) -> float:
    """Share of pictures whose noun is the likeliest class."""
    return (features(classifier, shown["image"])[1].argmax(1) == shown["label"]).double().mean().item()


def unseen_sprites(seed: int, budget: "Budget") -> dict[str, Tensor]:
    """Labelled pictures of one object that no training run has seen."""
    size = BEiT.Config.named(budget.size).tower.image_size
    return single_sprites(budget.scenes, "val", seed, size)(np.arange(budget.measured))


def few_labels(model: BEiT, seed: int, budget: "Budget", on_step: Report | None = None) -> dict[str, float]:
    """Accuracies on unseen single sprites: of a linear probe, and fine-tuned with few labels (both numbers of updates)
    and with more of them (the larger number)."""
    shown, found = unseen_sprites(seed, budget), {}
    frozen = BEiTClassifier.from_pretraining(model, budget.nouns).eval()
    queries = features(frozen, shown["image"])[0]
    for name, each in zip(("few labels", "more labels"), budget.labels, strict=True):
        labelled = Labelled(budget.scenes, each, seed, model.config.tower.image_size)
        known = features(frozen, labelled.examples["image"])[0]
        right = ridge(known, labelled.examples["label"], queries) == shown["label"]
        found[f"{name}, probe"] = right.double().mean().item()
        for length, updates in zip(("short", "long"), budget.updates, strict=True):
            if (name, length) != ("more labels", "short"):
                classifier = fine_tune(model, labelled, updates, seed, budget, on_step=on_step)
                found[f"{name}, {length}"] = accuracy(classifier, shown)
    return found


def name_hidden(
    model: BEiT, updates: int, seed: int, budget: "Budget", progress: str | None = None, on_step: Report | None = None
) -> BEiT:
    """The network with a new head for nouns, all of it trained to name the objects behind hidden patches."""
    torch.manual_seed(seed)
    tower, start = model.config.tower, {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}
    named = BEiT(model.config.replace(codes=budget.nouns)).to(model.device)
    named.load_state_dict(start, strict=False)
    scenes = LabelledScenes(budget.scenes, "train", seed, tower.image_size, tower.patch, budget.labelled)
    stages = stage(
        "hidden nouns", updates, scenes.source(budget.fine_batch, examples=len(scenes)), adamw(budget.hidden_lr)
    )
    task = HiddenNounTask(named, int(SHARE * named.side**2))
    fit(task, stages, seed=seed, progress=progress, on_step=on_step)
    return named.eval()


@torch.inference_mode()
def hidden_nouns(named: BEiT, seed: int, budget: "Budget") -> dict[str, float]:
    """In unseen scenes: share of the hidden patches with an object whose noun is the likeliest, and the share of the
    commonest noun among them."""
    tower, count = named.config.tower, min(budget.measured, 512)
    shown = LabelledScenes(budget.scenes, "val", seed, tower.image_size, tower.patch, count)
    task, rng = HiddenNounTask(named, int(SHARE * named.side**2)), torch.Generator().manual_seed(seed)
    batch = task.prepare(shown.batch(range(count)), rng)
    true, logits = named_patches(named, batch["image"], batch["hidden"], batch["nouns"])
    return {
        "found": (logits.argmax(1) == true).double().mean().item(),
        "commonest": (true == true.mode().values).double().mean().item(),
    }


def behind_patches(model: BEiT, seed: int, budget: "Budget", on_step: Report | None = None) -> dict[str, float]:
    """Hidden nouns after both numbers of updates, beside the commonest noun."""
    found: dict[str, float] = {}
    for length, updates in zip(("short", "long"), budget.hidden_updates, strict=True):
        measured = hidden_nouns(name_hidden(model, updates, seed, budget, on_step=on_step), seed, budget)
        found |= {f"hidden nouns, {length}": measured["found"], "hidden nouns, commonest": measured["commonest"]}
    return found


def best(found: Metrics, what: str = "few labels") -> float:
    """The measure at the number of updates that favours the arm."""
    return max(found[f"{what}, short"], found[f"{what}, long"])


def best_hidden(found: Metrics) -> float:
    """Hidden nouns at the number of updates that favours the arm."""
    return best(found, "hidden nouns")

"""Week 6, BEiT: the data it sees, how it is trained at each budget, and the claims, written down before the runs.

Headline: predicting the codes of hidden patches on unlabelled scenes beats training from scratch where labels are few
and the answer has to be inferred from what is visible, with either given the number of updates that favours it. Every
seed is measured on scenes of its own.
"""

from dataclasses import dataclass
from operator import itemgetter

import torch

from tinyvlm.data.scenes import SceneSpec
from tinyvlm.data.world import World
from tinyvlm.encoders import normalise
from tinyvlm.experiments import presets
from tinyvlm.experiments.few_labels import dense_probe
from tinyvlm.experiments.pretrain import Report
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.transfer import SHARE, behind_patches, best, best_hidden, few_labels
from tinyvlm.experiments.verdicts import direction
from tinyvlm.experiments.worlds import world
from tinyvlm.models.beit import BEiT
from tinyvlm.models.beit_task import BEiTTask
from tinyvlm.models.tokenizers import TokenizerTask, VisualTokenizer
from tinyvlm.objectives.quantising import perplexity
from tinyvlm.training import History, Stage, fit


@dataclass(frozen=True)
class Budget:
    """What a preset spends.

    Updates and pictures an update of the tokenizer, of pre-training and of fine-tuning; `dense_steps` those of
    pre-training with small patches, `dense_patch` their side and `dense_strides` the tokenizer's. `labels` a noun, few
    and more, and `updates` of fine-tuning on them, short and long. `labelled` scenes with the noun of each patch, and
    `hidden_updates` of fine-tuning on hidden patches. `start` pictures from which the codebook starts; `measured`
    pictures. Peak learning rates of pre-training, of the tokenizer, and of fine-tuning for the network, for the new
    head on whole pictures, and for both on hidden patches.
    """

    size: str
    batch: int
    tokenizer_steps: int
    steps: int
    dense_steps: int
    nouns: int
    labels: tuple[int, ...]
    updates: tuple[int, ...]
    labelled: int
    hidden_updates: tuple[int, ...]
    start: int
    measured: int
    dense_patch: int = 6
    dense_strides: tuple[int, ...] = (6,)
    tokenizer_batch: int = 32
    fine_batch: int = 32
    lr: float = 2e-3
    tokenizer_lr: float = 2e-3
    fine_lr: float = 5e-4
    head_lr: float = 1e-2
    hidden_lr: float = 2e-3

    @property
    def scenes(self) -> SceneSpec:
        """The unlabelled scenes: two to four objects, so that much of a picture is something."""
        return SceneSpec(objects=(2, 4), plates=4, backgrounds=2, nouns=self.nouns)


# The gpu row is an estimate: it has not been run.
BUDGETS = {
    "smoke": Budget(
        "micro", 16, 8, 8, 4, 8, (1, 2), (2, 4), 16, (2, 4), start=80, measured=64, tokenizer_batch=16, fine_batch=8
    ),
    "cpu": Budget("micro", 64, 400, 600, 250, 64, (4, 16), (120, 400), 96, (300, 900), start=1920, measured=1024),
    "gpu": Budget(
        "small",
        256,
        4000,
        10_000,
        10_000,
        315,
        (4, 16),
        (500, 2000),
        2048,
        (1000, 4000),
        start=8192,
        measured=4096,
        dense_patch=4,
        dense_strides=(4,),
        tokenizer_batch=128,
        fine_batch=128,
        lr=1e-3,
        tokenizer_lr=1e-3,
        fine_lr=2e-4,
        hidden_lr=1e-3,
    ),
}


def budget(preset: str, size: str | None = None) -> Budget:
    """The preset's budget, for a model of `size` where one is asked for (see `presets.budget`)."""
    return presets.budget(BUDGETS, preset, BEiT.Config, size)


@dataclass(frozen=True)
class Arm:
    """What hidden patches are predicted as, how they are chosen, and the rate as a multiple of the budget's.

    `pretrained=False` trains nothing before fine-tuning. `dense` has small patches, and is measured patch by patch.
    """

    targets: str = "codes"
    masking: str = "random"
    dense: bool = False
    pretrained: bool = True
    pace: float = 1.0


ARMS = {
    "codes": Arm(),
    "pixels": Arm(targets="normalised pixels"),
    "scratch": Arm(pretrained=False),
    "blockwise, small patches": Arm(masking="blockwise", dense=True),
    "random, small patches": Arm(dense=True),
}


def new_tokenizer(arm: Arm, budget: Budget, kind: str = "vq") -> VisualTokenizer:
    """A tokenizer with random weights whose codes are as large as the arm's patches."""
    config = VisualTokenizer.Config.named(budget.size, kind=kind)
    return VisualTokenizer(config.replace(strides=budget.dense_strides) if arm.dense else config)


def new_model(arm: Arm, budget: Budget) -> BEiT:
    """A network with random weights and a head for the arm's targets."""
    config = BEiT.Config.named(budget.size)
    if arm.dense:
        config = config.replace(tower=config.tower.replace(patch=budget.dense_patch))
    codes = VisualTokenizer.Config.named(budget.size).codes
    pixels = config.tower.channels * config.tower.patch**2
    return BEiT(config.replace(codes=codes if arm.targets == "codes" else pixels))


def new_task(model: BEiT, tokenizer: VisualTokenizer | None, arm: Arm) -> BEiTTask:
    """How an arm pre-trains. A block has at least a quarter of what is hidden; the paper's 16 of 75 are a fifth."""
    count = int(SHARE * model.side**2)
    return BEiTTask(model, tokenizer, masking=arm.masking, count=count, least=max(1, count // 4), targets=arm.targets)


def pictures(split: str, seed: int, budget: Budget) -> World:
    """The unlabelled scenes of a split."""
    return world(split, seed, BEiT.Config.named(budget.size).tower.image_size, budget.scenes)


def tokenizer_recipe(scenes: World, budget: Budget) -> list[Stage]:
    """The tokenizer's training in one stage."""
    return [
        stage("tokenizer", budget.tokenizer_steps, scenes.source(budget.tokenizer_batch), adamw(budget.tokenizer_lr))
    ]


def recipe(scenes: World, arm: Arm, budget: Budget) -> list[Stage]:
    """Pre-training in one stage."""
    steps = budget.dense_steps if arm.dense else budget.steps
    return [stage("pre-train", steps, scenes.source(budget.batch), adamw(budget.lr * arm.pace))]


def train_tokenizer(
    arm: Arm,
    seed: int,
    budget: Budget,
    kind: str = "vq",
    progress: str | None = None,
    on_step: Report | None = None,
) -> tuple[VisualTokenizer, History]:
    """A tokenizer whose codebook starts from k-means, trained on the unlabelled scenes. The seed sets all."""
    torch.manual_seed(seed)
    scenes, tokenizer = pictures("train", seed, budget), new_tokenizer(arm, budget, kind)
    start = normalise(scenes.batch(range(budget.start))["image"])
    tokenizer.start_codebook(start, torch.Generator().manual_seed(seed))
    task = TokenizerTask(tokenizer, steps=budget.tokenizer_steps)
    history = fit(task, tokenizer_recipe(scenes, budget), seed=seed, progress=progress, on_step=on_step)
    return tokenizer.eval(), history


def train(
    arm: Arm,
    seed: int,
    budget: Budget,
    tokenizer: VisualTokenizer | None = None,
    progress: str | None = None,
    on_step: Report | None = None,
) -> tuple[BEiT, History]:
    """A network pre-trained as the arm says, with random weights where it says not. The seed sets all."""
    torch.manual_seed(seed)
    model = new_model(arm, budget)
    if not arm.pretrained:
        return model.eval(), History()
    stages = recipe(pictures("train", seed, budget), arm, budget)
    history = fit(new_task(model, tokenizer, arm), stages, seed=seed, progress=progress, on_step=on_step)
    return model.eval(), history


@torch.inference_mode()
def hidden_codes(model: BEiT, tokenizer: VisualTokenizer, arm: Arm, seed: int, budget: Budget) -> dict[str, float]:
    """On unseen scenes: share of hidden codes found, beside that of always saying the commonest; codes in use."""
    task, rng = new_task(model, tokenizer, arm), torch.Generator().manual_seed(seed)
    batch = task.prepare(pictures("val", seed, budget).batch(range(min(budget.measured, 512))), rng)
    codes = batch["codes"][batch["hidden"]]
    right = model.complete(batch["image"], batch["hidden"]) == codes
    return {
        "hidden codes": right.double().mean().item(),
        "hidden codes, commonest": (codes == codes.mode().values).double().mean().item(),
        "perplexity": perplexity(batch["codes"], tokenizer.config.codes).item(),
    }


def run_arm(arm: str, seed: int, preset: str, progress: Report | None = None) -> dict[str, float]:
    """One job of the claims' queue."""
    budget, chosen = BUDGETS[preset], ARMS[arm]
    tokenizer, found = None, {}
    if chosen.pretrained and chosen.targets == "codes":
        tokenizer, history = train_tokenizer(chosen, seed, budget, on_step=progress)
        found["tokenizer seconds"] = history.seconds
    model, history = train(chosen, seed, budget, tokenizer, on_step=progress)
    found["pre-training seconds"] = history.seconds
    if tokenizer is not None:
        found |= hidden_codes(model, tokenizer, chosen, seed, budget)
    found |= dense_probe(model, budget.scenes, seed, budget.measured)
    if chosen.dense:
        return found
    found |= behind_patches(model, seed, budget, on_step=progress)
    return found | few_labels(model, seed, budget, on_step=progress)


CLAIMS = (
    direction(
        "hidden-nouns",
        "Pre-training on unlabelled pictures helps where labels are few and the answer has to be inferred: fine-tuned "
        "on 96 labelled scenes, a network that first predicted the codes of hidden patches names more objects behind "
        "hidden patches than one from scratch, by more than 0.1. Each arm has the better of two numbers of updates.",
        "hidden nouns, best",
        best_hidden,
        better="codes",
        worse="scratch",
        margin=0.1,
        kind="headline",
    ),
    direction(
        "tokens-or-pixels",
        "Codes teach more than pixels: the same network that predicted the normalised pixels of hidden patches names "
        "fewer objects behind hidden patches after the same fine-tuning, by more than 0.02.",
        "hidden nouns, best",
        best_hidden,
        better="codes",
        worse="pixels",
        margin=0.02,
    ),
    direction(
        "few-labels",
        "On whole pictures, too: fine-tuned on 4 labelled pictures a noun, the pre-trained network names more unseen "
        "sprites than one from scratch, by more than 0.05. Each arm has the better of its two numbers of updates.",
        "few labels, best",
        best,
        better="codes",
        worse="scratch",
        margin=0.05,
    ),
    direction(
        "probe",
        "Pre-trained features are linearly readable: a linear probe on the frozen network's mean token, fitted to 4 "
        "labelled pictures a noun, names more unseen sprites after pre-training than on random weights, by more than "
        "0.05.",
        "few labels, probe",
        itemgetter("few labels, probe"),
        better="codes",
        worse="scratch",
        also=("pixels",),
        margin=0.05,
    ),
    direction(
        "blocks",
        "Hiding blocks helps dense prediction: with small patches, a linear probe on patch tokens has a higher mIoU "
        "on the sprites' masks after blockwise than after random masking, by more than 0.02.",
        "mIoU",
        itemgetter("mIoU"),
        better="blockwise, small patches",
        worse="random, small patches",
        margin=0.02,
    ),
)

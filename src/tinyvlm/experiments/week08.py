"""Week 8, VLMo: the data it sees, how it is trained at each budget, and the claims, written down before the runs.

Headline: an expert for each modality grounds more nouns than one shared feed-forward, at equal active compute and
updates. Every seed is measured on scenes of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tinyvlm.data.text_only import TextOnly
from tinyvlm.experiments import presets, scores
from tinyvlm.experiments.measure import hard_retrieval, hidden_nouns, retrieval, single_changes
from tinyvlm.experiments.pretrain import Report, name_sprites
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.verdicts import Claim, direction
from tinyvlm.experiments.words import content_rates
from tinyvlm.experiments.worlds import FEW, world
from tinyvlm.models.task import Task
from tinyvlm.models.vlmo import VLMo, VLMoConfig
from tinyvlm.models.vlmo_task import TEXT_STAGE, VLMoTask, VLMoTextTask
from tinyvlm.training import History, Stage, fit

TEXTS, PAIRS, MATCHING = "texts", "pairs", "pairs, matching"
FIRST = 100  # updates of the pair stage whose MLM loss is compared


@dataclass(frozen=True)
class Budget:
    """What a preset spends: updates of the picture stage, of the text stage, of pairs without matching and with it;
    how many of these draw negatives at random; scenes measured; peak learning rates, the last of the picture stage."""

    size: str
    batch: int
    pictures: int
    texts: int
    pairs: int
    matching: int
    random: int
    gallery: int
    changes: int
    lr: float = 2e-3
    pictures_lr: float = 2e-3


# The gpu row is an estimate: it has not been run.
BUDGETS = {
    "smoke": Budget("micro", 16, 6, 4, 6, 6, random=3, gallery=32, changes=16),
    "cpu": Budget("micro", 48, 300, 300, 450, 250, random=100, gallery=512, changes=1024),
    "gpu": Budget("small", 256, 1000, 1000, 2000, 3000, random=1000, gallery=512, changes=1024, lr=1e-3),
}


def budget(preset: str, size: str | None = None) -> Budget:
    """The preset's budget, for a model of `size` where one is asked for (see `presets.budget`)."""
    return presets.budget(BUDGETS, preset, VLMoConfig, size)


@dataclass(frozen=True)
class Arm:
    """`experts` or one shared feed-forward, which is `wide` enough for as many parameters in all as the experts have;
    whether a `text_stage` comes first and `matched` pairs last; whether matching starts with random negatives."""

    experts: bool = True
    wide: bool = False
    text_stage: bool = False
    matched: bool = False
    random_first: bool = True


ARMS = {
    "experts": Arm(matched=True),
    "one shared": Arm(experts=False),
    "one shared, wide": Arm(experts=False, wide=True),
    "experts after a text stage": Arm(text_stage=True),
    "hard negatives at once": Arm(matched=True, random_first=False),
}


class ImagePath(nn.Module):
    """The model's way for pictures alone as a tower, for the picture stage."""

    def __init__(self, model: VLMo):
        super().__init__()
        self.model = model

    def forward(self, image: Float[Tensor, "b c size size"]) -> Float[Tensor, "b k width"]:
        return self.model.image_tokens(image)


def new_model(arm: Arm, budget: Budget) -> VLMo:
    """A randomly initialised network of the arm's kind."""
    config = VLMoConfig.named(budget.size)
    vision = config.vision
    # Experts: two feed-forwards a layer, three in the top ones. As many hidden units in all, in one a layer.
    hidden = round(vision.hidden * (2 + config.top / vision.layers)) if arm.wide else vision.hidden
    return VLMo(config.replace(experts=arm.experts, vision=vision.replace(hidden=hidden)))


def picture_stage(model: VLMo, seed: int, budget: Budget, progress: str | None = None) -> float:
    """The first stage: naming single sprites along the way of pictures alone. Returns the accuracy on unseen ones."""
    vision = model.config.vision
    return name_sprites(
        ImagePath(model),
        vision.width,
        FEW,
        seed=seed,
        size=vision.image_size,
        steps=budget.pictures,
        lr=budget.pictures_lr,
        progress=progress,
    )


def recipe(seed: int, arm: Arm, budget: Budget) -> list[Stage]:
    """What follows the picture stage. Each stage has a learning-rate schedule of its own."""
    scenes = world("train", seed, VLMoConfig.named(budget.size).vision.image_size)
    # Captions of scenes that the pairs do not show.
    texts = TextOnly(1000 + seed, FEW, scenes.context, kinds=("caption",))
    pairs, rate = scenes.source(budget.batch), adamw(budget.lr)
    more = scenes.source(budget.batch, offset=budget.pairs * budget.batch)
    stages = [stage(PAIRS, budget.pairs, pairs, rate)]
    if arm.text_stage:
        stages.insert(0, stage(TEXTS, budget.texts, texts.source(budget.batch), rate, trainable=TEXT_STAGE))
    if arm.matched:
        stages.append(stage(MATCHING, budget.matching, more, rate))
    return stages


def new_task(model: VLMo, arm: Arm, budget: Budget, stage: str) -> Task:
    """How a stage trains a model. Mostly nouns are hidden, colours less often; MLM has weight 1."""
    rates = content_rates(colours=0.1)
    if stage == TEXTS:
        return VLMoTextTask(model, rates)
    random = budget.random if arm.random_first else 0
    return VLMoTask(model, rates, itm=stage == MATCHING, random=random, mlm_weight=1.0)


def train(
    arm: Arm,
    seed: int,
    budget: Budget,
    progress: str | None = None,
    on_step: Report | None = None,
    after: Callable[[str, VLMo], None] = lambda *_: None,
) -> tuple[VLMo, dict[str, History]]:
    """All stages of an arm; `after(stage, model)` is called behind each. The seed sets weights, scenes and draws."""
    torch.manual_seed(seed)
    model = new_model(arm, budget)
    picture_stage(model, seed, budget)
    histories = {}
    for one in recipe(seed, arm, budget):
        task = new_task(model, arm, budget, one.name)
        histories[one.name] = fit(task, one, seed=seed, progress=progress, on_step=on_step)
        after(one.name, model)
    return model, histories


def named(model: VLMo, budget: Budget, seed: int = 0) -> float:
    """Share of hidden nouns that the model names, in unseen scenes of this seed."""
    model.eval()
    scenes = world("val", seed, model.config.vision.image_size)
    return hidden_nouns(scores.words(model), scenes, model.config.mask_id, budget.changes // 2)


def evaluate(model: VLMo, budget: Budget, seed: int = 0, matched: bool = True) -> dict[str, float]:
    """Retrieval and single changes by the dual encoder; where matching was trained, changes by the fusion encoder too.
    On scenes drawn by the seed, so that an interval over seeds carries the error of the test as well."""
    scenes = world("val", seed, model.config.vision.image_size)
    model.eval()
    found = retrieval(scores.cosines(model), scenes, budget.gallery)
    for name, score in (("dual: ", scores.cosine(model)), ("", scores.matching(model)))[: 2 if matched else 1]:
        found |= {name + c: contrast.value for c, contrast in single_changes(score, scenes, budget.changes).items()}
        found |= {name + key: value for key, value in hard_retrieval(score, scenes, budget.changes // 2).items()}
    return found


NOUNS, MLM = "hidden nouns, pairs without matching", f"MLM, first {FIRST} updates on pairs"


def _mean(losses: list[float]) -> float:
    return torch.tensor(losses).mean().item()


def run_arm(arm: str, seed: int, preset: str, progress: Report | None = None) -> dict[str, float]:
    """One job of the claims' queue."""
    budget, found = BUDGETS[preset], dict[str, float]()

    def after(stage: str, model: VLMo) -> None:
        if stage != TEXTS:
            found[NOUNS if stage == PAIRS else "hidden nouns, end"] = named(model, budget, seed)

    model, histories = train(ARMS[arm], seed, budget, on_step=progress, after=after)
    found[MLM] = _mean(histories[PAIRS].losses.get("MLM", [])[:FIRST])
    found["MLM, last 20 updates on pairs"] = _mean(histories[PAIRS].losses.get("MLM", [])[-20:])
    if MATCHING in histories:
        found["ITM, last 20 updates"] = _mean(histories[MATCHING].losses.get("ITM", [])[-20:])
    found |= evaluate(model, budget, seed, ARMS[arm].matched)
    return found | {f"seconds, {name}": history.seconds for name, history in histories.items()}


CLAIMS = (
    direction(
        "experts",
        "At equal active compute and updates, an expert for each modality grounds more nouns than one shared "
        "feed-forward: after the pairs without matching, the share of hidden nouns named is higher by more than 0.05.",
        NOUNS,
        itemgetter(NOUNS),
        better="experts",
        worse="one shared",
        also=("one shared, wide",),
        margin=0.05,
        kind="headline",
    ),
    direction(
        "equal-parameters",
        "So it is at equal parameters in all: against one shared feed-forward that is as large as all experts of its "
        "layer together, the share of hidden nouns named is higher, too.",
        NOUNS,
        itemgetter(NOUNS),
        better="experts",
        worse="one shared, wide",
    ),
    direction(
        "text-stage",
        f"A text stage lets the pairs start lower: the loss of masked words, mean of the first {FIRST} updates on "
        "pairs, is higher without it by more than 1.",
        MLM,
        itemgetter(MLM),
        better="experts",
        worse="experts after a text stage",
        margin=1.0,
    ),
    direction(
        "text-stage-end",
        "And it lets them end higher: after equal updates on pairs, the share of hidden nouns named is higher after a "
        "text stage than without.",
        NOUNS,
        itemgetter(NOUNS),
        better="experts after a text stage",
        worse="experts",
    ),
    direction(
        "hard-negatives",
        "Matching starts with random negatives and not with hard ones: after equal updates the fusion encoder prefers "
        "the true caption to one with another object more often where negatives were random at first, by more than "
        "0.2.",
        "object",
        itemgetter("object"),
        better="experts",
        worse="hard negatives at once",
        margin=0.2,
    ),
    Claim(
        "modes",
        "direction",
        "One network, two modes: as a fusion encoder it tells two swapped objects apart more often than as a dual "
        "encoder, by more than 0.05.",
        "objects swapped",
        ("experts",),
        lambda arms: arms["experts"]["objects swapped"] - arms["experts"]["dual: objects swapped"],
        margin=0.05,
    ),
)

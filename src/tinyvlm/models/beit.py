"""BEiT: BERT pre-training of image Transformers (Bao et al., arXiv 2106.08254, figure 1).

    picture -> patches, some replaced by a mask token -> Transformer -> linear layer -> codes of the hidden patches
    picture -> frozen visual tokenizer (`models/tokenizers.py`) ----------------------> the codes that are right

Fine-tuning keeps the Transformer, drops mask token and head, and reads the mean of the patch tokens: `BEiTClassifier`.
Blocks are pre-norm with a LayerScale, keys have no bias. Positions are a relative bias on attention: one table that all
layers share in pre-training, a table for each layer in fine-tuning.

The masks and the loss are in `beit_task`. Deviations and choices:
- The mean of the patch tokens is normalised by a LayerNorm that starts afresh.
- The small sizes have a table of absolute positions as well: in trials of some hundred updates a relative bias alone
  predicted fewer codes.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyvlm import blueprint as drawn
from tinyvlm.blueprint import Arrow, Blocks, Line, Part
from tinyvlm.config import Config
from tinyvlm.encoders.vision import VisionConfig, VisionTransformer, check_images
from tinyvlm.interop.beit import beit_from_hf
from tinyvlm.layers.attention import Attention
from tinyvlm.layers.feedforward import FeedForward
from tinyvlm.layers.poolers import pool
from tinyvlm.layers.positions import RelativePositions
from tinyvlm.layers.residual import Block, Residual
from tinyvlm.models.base import Card, PaperModel

HEAD_STD = 0.02


def _size(
    width: int,
    layers: int,
    heads: int,
    patch: int,
    image_size: int,
    hidden: int | None = None,
    positions: bool = False,
    **fields: Any,
) -> dict[str, Any]:
    tower = VisionConfig(
        image_size=image_size,
        patch=patch,
        width=width,
        layers=layers,
        heads=heads,
        hidden=hidden or 4 * width,
        positions=positions,
        position_std=0.5 if positions else 0.02,
        drop=0.0 if image_size < 224 else 0.1,
    )
    return {"tower": tower, **fields}


@dataclass(frozen=True)
class BEiTConfig(Config):
    """`codes` is the width of the pre-training head (0: none), `classes` that of the classifier's.

    relative: no relative bias, one table that all layers share, or a table for each of the layers; absolute positions
    are `tower.positions`. scale: where LayerScale starts (None: no LayerScale). std: of the blocks' initial weights.
    """

    tower: VisionConfig = field(default_factory=lambda: VisionConfig(positions=False, drop=0.1))
    codes: int = 8192
    classes: int = 1000
    relative: Literal["none", "shared", "layers"] = "shared"
    scale: float | None = 0.1
    std: float = 0.02

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": _size(128, 4, 4, 12, 48, hidden=256, positions=True, codes=256, classes=64, std=0.1),
        "small": _size(256, 6, 8, 8, 64, positions=True, codes=2048, classes=315, std=0.05),
        "B/16": _size(768, 12, 12, 16, 224),
        "L/16": _size(1024, 24, 16, 16, 224, scale=1e-5),
    }


@dataclass
class BEiTOutput:
    """`tokens` are normalised, the class token first where there is one; `logits` are those of the m hidden patches."""

    tokens: Float[Tensor, "b n width"]
    logits: Float[Tensor, "m codes"]


@dataclass
class ClassifierOutput:
    """`tokens` are those of the last block, as it puts them out; `features` are the normalised mean of the patches."""

    tokens: Float[Tensor, "b n width"]
    features: Float[Tensor, "b width"]
    logits: Float[Tensor, "b classes"]


def beit_block(config: BEiTConfig, depth: int) -> Block:
    """x + scale * branch(LN(x)), twice; the keys' bias would fall out of the softmax, so there is none."""
    tower = config.tower

    def residual(branch: nn.Module) -> Residual:
        return Residual(nn.LayerNorm(tower.width, tower.eps), branch, scale=config.scale, drop=tower.drop_at(depth))

    return Block(
        attention=residual(Attention(tower.width, tower.heads, k_bias=False)),
        mlp=residual(FeedForward(tower.width, tower.hidden, tower.activation)),
    )


def relative_positions(config: BEiTConfig) -> RelativePositions | nn.ModuleList | None:
    """The table that all layers share, a table a layer, or None."""
    tower = config.tower

    def table() -> RelativePositions:
        return RelativePositions(tower.image_size // tower.patch, tower.heads, tower.class_token)

    if config.relative == "none":
        return None
    return table() if config.relative == "shared" else nn.ModuleList(table() for _ in range(tower.layers))


def run(
    tower: VisionTransformer, relative: RelativePositions | nn.ModuleList | None, patches: Float[Tensor, "b p width"]
) -> Float[Tensor, "b n width"]:
    """Embedded patches through the blocks, each attention with its bias; not normalised yet."""
    x = tower.embed(patches)
    if relative is None:
        return tower.blocks(x)
    if isinstance(relative, RelativePositions):
        return tower.blocks(x, attention={"bias": relative()})
    return tower.blocks(x, each=[{"attention": {"bias": one()}} for one in relative])


@torch.no_grad()
def init_weights(tower: VisionTransformer, head: nn.Linear, std: float) -> None:
    """Official code: normal, cut off at one `std`; a block's outputs are divided by sqrt(2 x the block's number)."""
    for module in (*tower.blocks.modules(), head):
        if isinstance(module, nn.Linear):
            # The head keeps the paper's, so that the first loss is near ln K at every size.
            one = HEAD_STD if module is head else std
            nn.init.trunc_normal_(module.weight, std=one, a=-one, b=one)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for number, block in enumerate(tower.blocks, start=1):
        attention, mlp = (cast(Residual, cast(Block, block)[name]).branch for name in ("attention", "mlp"))
        for last in (cast(Attention, attention).out, cast(FeedForward, mlp).down):
            last.weight.div_(math.sqrt(2 * number))


def _items(config: BEiTConfig) -> tuple[Line | Blocks, ...]:
    """The tower as its blueprint says it, with the scaled branches named so."""
    scaled = "" if config.scale is None else " with LayerScale"
    items = drawn.vision_items(config.tower)
    return tuple(
        Blocks(
            one.name,
            one.times,
            tuple(drawn.Branch(b.name, b.what + scaled, b.size, b.placement) for b in one.branches),
        )
        if isinstance(one, Blocks)
        else one
        for one in items
    )


def _blueprint(config: BEiTConfig) -> tuple[Part, ...]:
    tower = config.tower
    patches, out = (tower.image_size // tower.patch) ** 2, drawn.shape(tower.tokens, tower.width)
    mask = (Line("mask_token", "stands for hidden patches"),)
    positions, arrows = _positions(config)
    return (
        drawn.image(tower, "full"),
        Part("tokenizer", "visual tokenizer", "right", ("image",), out=f"{patches} codes", role="beside", frozen=True),
        Part("", "hide some patches", "left", ("image",), mask, key="hide"),
        *positions,
        Part("tower", "Vision Transformer", "left", ("hide", *arrows), _items(config), out=out),
        Part("head", "linear layer, at hidden patches", "left", ("tower",), out=f"m × {config.codes:,} codes"),
        Part("MIM", "cross-entropy with the codes of hidden patches", inputs=("head", "tokenizer"), role="loss"),
    )


def _positions(config: BEiTConfig) -> tuple[tuple[Part, ...], tuple[Arrow, ...]]:
    """The box of the relative bias and its arrow, where there is one."""
    if config.relative == "none":
        return (), ()
    whose = "one table for all layers" if config.relative == "shared" else "a table for each layer"
    box = Part("relative", f"relative position bias, {whose}", "right", out=f"{config.tower.heads} heads")
    return (box,), (Arrow("relative", into="attention"),)


def _classifier_blueprint(config: BEiTConfig) -> tuple[Part, ...]:
    width, (positions, arrows) = config.tower.width, _positions(config)
    out = drawn.shape(config.tower.tokens, width)
    return (
        drawn.image(config.tower, "full"),
        *positions,
        Part("tower", "Vision Transformer", "left", ("image", *arrows), _items(config), out=out),
        Part("", "one vector", "left", ("tower",), (drawn.pooling("mean"),), out=f"{width}", key="vector"),
        Part("head", "linear layer", "left", ("vector",), out=f"{config.classes:,} classes"),
        Part("cross_entropy", "softmax cross-entropy with the label", "left", ("head",), role="loss"),
    )


class BEiT(PaperModel):
    """The network of pre-training."""

    Config = BEiTConfig
    CARD = Card(
        paper="BEiT: BERT Pre-Training of Image Transformers",
        arxiv="2106.08254",
        towers="one (image)",
        fusion="none",
        objectives=("masked image modelling (MIM): codes of hidden patches",),
        frozen="the visual tokenizer",
        output="codes; after fine-tuning a class",
    )
    BLUEPRINT = staticmethod(_blueprint)
    FOREIGN: ClassVar = {"beit": partial(beit_from_hf, head="codes")}
    config: BEiTConfig

    def __init__(self, config: BEiTConfig):
        super().__init__(config)
        self.tower = VisionTransformer(config.tower, partial(beit_block, config))
        self.mask_token = nn.Parameter(torch.zeros(config.tower.width))
        self.relative = relative_positions(config)
        self.head = nn.Linear(config.tower.width, config.codes)
        init_weights(self.tower, self.head, config.std)
        nn.init.trunc_normal_(self.mask_token, std=config.std)
        if self.tower.class_token is not None:
            nn.init.trunc_normal_(self.tower.class_token, std=config.std)

    @property
    def first_patch(self) -> int:
        """Where the patches begin among the tokens."""
        return int(self.config.tower.class_token)

    @property
    def side(self) -> int:
        """Patches of the grid's side."""
        return self.config.tower.image_size // self.config.tower.patch

    def forward(self, image: Float[Tensor, "b c size size"], hidden: Bool[Tensor, "b p"]) -> BEiTOutput:
        check_images(image, self.config.tower.image_size, self.config.tower.channels)
        patches = torch.where(hidden[..., None], self.mask_token, self.tower.patches(image))
        tokens = self.tower.norm(run(self.tower, self.relative, patches))
        # Pictures may hide different numbers of patches, so the hidden ones are one long row.
        return BEiTOutput(tokens, self.head(tokens[:, self.first_patch :][hidden]))

    def complete(self, image: Float[Tensor, "b c size size"], hidden: Bool[Tensor, "b p"]) -> Int[Tensor, " m"]:
        """The likeliest code of each hidden patch, picture by picture, row by row."""
        return self(image, hidden).logits.argmax(-1)


class BEiTClassifier(PaperModel):
    """The network of fine-tuning: the mean of the patch tokens, LayerNorm, a linear layer."""

    Config = BEiTConfig
    CARD = BEiT.CARD
    BLUEPRINT = staticmethod(_classifier_blueprint)
    FOREIGN: ClassVar = {"beit": partial(beit_from_hf, head="classes")}
    config: BEiTConfig

    def __init__(self, config: BEiTConfig):
        super().__init__(config)
        self.tower = VisionTransformer(config.tower, partial(beit_block, config))
        self.relative = relative_positions(config)
        self.head = nn.Linear(config.tower.width, config.classes)
        init_weights(self.tower, self.head, config.std)
        with torch.no_grad():
            self.head.weight.mul_(0.001)  # official: all classes nearly equally likely at first

    @classmethod
    def from_pretraining(cls, model: BEiT, classes: int) -> "BEiTClassifier":
        """Fine-tuning's start: the tower's blocks, the shared bias once for each layer, a new norm and a new head."""
        relative = "layers" if model.config.relative == "shared" else model.config.relative
        classifier = cls(model.config.replace(classes=classes, relative=relative)).to(model.device)
        norm = classifier.tower.norm.state_dict()
        classifier.tower.load_state_dict(model.tower.state_dict() | {f"norm.{name}": v for name, v in norm.items()})
        if isinstance(classifier.relative, nn.ModuleList) and isinstance(model.relative, RelativePositions):
            for one in classifier.relative:
                one.load_state_dict(model.relative.state_dict())
        elif classifier.relative is not None and model.relative is not None:
            classifier.relative.load_state_dict(model.relative.state_dict())
        return classifier

    def forward(self, image: Float[Tensor, "b c size size"]) -> ClassifierOutput:
        check_images(image, self.config.tower.image_size, self.config.tower.channels)
        tokens = run(self.tower, self.relative, self.tower.patches(image))
        patches = tokens[:, int(self.config.tower.class_token) :]
        features = self.tower.norm(pool(patches, "mean"))
        return ClassifierOutput(tokens, features, self.head(features))

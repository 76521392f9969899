"""A paper that hides patches, biases every attention and scales every branch is composed on the tower, not copied.

It is BEiT (Bao et al., arXiv 2106.08254), held against transformers: the block maker, `embed`, the inputs of blocks,
LayerScale and relative positions together.
"""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tinyvlm.encoders.vision import VisionConfig, VisionTransformer
from tinyvlm.interop.renaming import Renaming
from tinyvlm.layers import Attention, Block, FeedForward, RelativePositions, Residual

NAMES = Renaming(
    [
        ("tower.class_token", "beit.embeddings.cls_token"),
        ("hidden", "beit.embeddings.mask_token"),
        ("tower.patches", "beit.embeddings.patch_embeddings.projection"),
        ("tower.norm", "layernorm"),
        ("head", "lm_head"),
        ("relative.table", "beit.shared_position_bias.relative_position_bias_table"),
        *(
            (f"tower.blocks.{{}}.{ours}", f"beit.layers.{{}}.{theirs}")
            for ours, theirs in (
                ("attention.scale", "lambda_1"),
                ("attention.norm", "layernorm_before"),
                ("attention.branch.q", "attention.q_proj"),
                ("attention.branch.k", "attention.k_proj"),
                ("attention.branch.v", "attention.v_proj"),
                ("attention.branch.out", "attention.o_proj"),
                ("mlp.scale", "lambda_2"),
                ("mlp.norm", "layernorm_after"),
                ("mlp.branch.up", "mlp.fc1"),
                ("mlp.branch.down", "mlp.fc2"),
            )
        ),
    ]
)


def block(config: VisionConfig, scale: float, depth: int) -> Block:
    def residual(branch: nn.Module) -> Residual:
        return Residual(nn.LayerNorm(config.width, config.eps), branch, scale=scale, drop=config.drop_at(depth))

    return Block(
        attention=residual(Attention(config.width, config.heads, k_bias=False)),
        mlp=residual(FeedForward(config.width, config.hidden)),
    )


class Composed(nn.Module):
    """BEiT's pre-training network: codes of the hidden patches."""

    def __init__(self, config: VisionConfig, codes: int, scale: float):
        super().__init__()
        self.tower = VisionTransformer(config, partial(block, config, scale))
        self.hidden = nn.Parameter(torch.zeros(config.width))
        self.relative = RelativePositions(config.image_size // config.patch, config.heads)
        self.head = nn.Linear(config.width, codes)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        patches = torch.where(mask[..., None], self.hidden, self.tower.patches(image))
        x = self.tower.blocks(self.tower.embed(patches), attention={"bias": self.relative()})
        return self.head(self.tower.norm(x)[:, 1:][mask])


@pytest.mark.parametrize(
    ("width", "layers", "heads", "scale", "count"), [(768, 12, 12, 0.1, 91_965_776), (1024, 24, 16, 1e-5, 311_534_016)]
)
def test_sizes_are_those_of_the_published_checkpoints_with_this_head(width, layers, heads, scale, count):
    """Counts of transformers' masked-image model with 8,192 codes."""
    config = VisionConfig(width=width, layers=layers, heads=heads, hidden=4 * width, positions=False, drop=0.1)
    with torch.device("meta"):
        model = Composed(config, 8192, scale)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(("size", "patch", "heads", "scale"), [(32, 4, 2, 0.1), (12, 6, 4, 1e-3), (9, 3, 1, 1.5)])
@torch.no_grad()
def test_codes_are_transformers(size, patch, heads, scale):
    transformers = pytest.importorskip("transformers", reason="the comparison needs the extra `hub`")
    shape = {"image_size": size, "patch_size": patch, "hidden_size": 16, "num_hidden_layers": 3, "vocab_size": 40}
    values = {"intermediate_size": 24, "num_attention_heads": heads, "layer_norm_eps": 1e-6}
    switches = {
        "use_mask_token": True,
        "use_shared_relative_position_bias": True,
        "use_absolute_position_embeddings": False,
    }
    theirs = transformers.BeitForMaskedImageModeling(transformers.BeitConfig(**shape, **values, **switches)).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.4)
    state = NAMES.to_ours(theirs.state_dict())
    for token in ("tower.class_token", "hidden"):
        state[token] = state[token].flatten()
    config = VisionConfig(
        image_size=size, patch=patch, width=16, layers=3, heads=heads, hidden=24, eps=1e-6, positions=False
    )
    ours = Composed(config, 40, scale).eval()
    for one in ours.tower.blocks:
        assert torch.equal(one["mlp"].scale, torch.full((16,), scale))
    assert len(state) == len(theirs.state_dict())
    ours.load_state_dict(state)
    image, mask = torch.randn(3, 3, size, size), torch.rand(3, (size // patch) ** 2) < 0.5
    found, expected = ours(image, mask), theirs(image, bool_masked_pos=mask).logits[mask]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.1
    nn.init.zeros_(ours.relative.table)
    assert (ours(image, mask) - found).abs().max() > 0.01, "the bias must matter"


def test_what_the_tower_does_with_inputs_is_what_its_blocks_do():
    config = VisionConfig(image_size=12, patch=4, width=16, layers=2, heads=2, hidden=24, norm_before=True)
    tower, bias, image = VisionTransformer(config).eval(), torch.randn(1, 2, 10, 10), torch.randn(2, 3, 12, 12)
    x = tower.embed(tower.patches(image))
    for one in tower.blocks:
        x = one(x, attention={"bias": bias})
    torch.testing.assert_close(tower(image, attention={"bias": bias}), tower.norm(x))
    each = [{"attention": {"bias": bias}}, {}]
    assert not torch.allclose(tower(image, each=each), tower(image, attention={"bias": bias}))

"""The residual network: published counts, shapes, strides, the sum itself, and the same network in transformers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinyvlm.encoders.resnet import ResidualUnit, ResNet, ResNetConfig, count

TINY = {"image_size": 40, "stem": 6, "depths": (2, 1, 3), "widths": (4, 6, 10)}


@pytest.mark.parametrize(
    ("size", "parameters"), {"ResNet-18": 11_176_512, "ResNet-50": 23_508_032, "ResNet-101": 42_500_160}.items()
)
def test_trunks_have_the_published_counts(size, parameters):
    assert count(ResNetConfig.named(size)) == parameters


@pytest.mark.parametrize(("size", "grid", "width"), [("micro", 3, 166), ("small", 4, 500)])
def test_small_trunks_keep_a_grid(size, grid, width):
    config = ResNetConfig.named(size)
    out = ResNet(config)(torch.randn(2, 3, config.image_size, config.image_size))
    assert out.shape == (2, width, grid, grid) and config.width == width


@pytest.mark.parametrize("size", ["ResNet-18", "ResNet-50"])
def test_paper_trunks_have_stride_32(size):
    config = ResNetConfig.named(size)
    with torch.device("meta"):
        out = ResNet(config)(torch.empty(1, 3, 224, 224))
    assert out.shape == (1, config.width, 7, 7)


def plain_convolution(image, weight, stride):
    """A convolution with half its kernel as padding, pixel by pixel."""
    size, reach = image.shape[-1], weight.shape[-1] // 2
    places = range(0, size, stride)
    out = torch.zeros(len(image), len(weight), len(places), len(places), dtype=image.dtype)
    for i, y in enumerate(places):
        for j, x in enumerate(places):
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    if 0 <= y + dy < size and 0 <= x + dx < size:
                        out[:, :, i, j] += image[:, :, y + dy, x + dx] @ weight[:, :, dy + reach, dx + reach].T
    return out


def normalised(x, norm):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize(("into", "width", "stride"), [(4, 4, 1), (5, 4, 1), (5, 4, 2), (16, 4, 1)])
def test_a_unit_is_the_slow_sum(bottleneck, into, width, stride):
    unit = ResidualUnit(into, width, stride, bottleneck).double().eval()
    for name, value in unit.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value))
    image = torch.randn(2, into, 7, 7).double()
    # In a bottleneck the 3x3 in the middle takes the stride, otherwise the first convolution.
    strides = [1, stride, 1] if bottleneck else [stride, 1]
    y = image
    for depth, (convolution, norm) in enumerate(zip(unit.convolutions, unit.norms, strict=True)):
        y = normalised(plain_convolution(y, convolution.weight, strides[depth]), norm)
        if depth + 1 < len(strides):
            y = y.clamp_min(0)
    out = 4 * width if bottleneck else width
    if into == out and stride == 1:
        assert isinstance(unit.shortcut, nn.Identity)
        past = image
    else:
        past = normalised(plain_convolution(image, unit.shortcut[0].weight, stride), unit.shortcut[1])
    torch.testing.assert_close(unit(image), (past + y).clamp_min(0))


@pytest.mark.parametrize("small_stem", [True, False])
def test_the_stem_is_what_its_configuration_says(small_stem):
    model = ResNet(ResNetConfig(**TINY, small_stem=small_stem)).eval()
    image = torch.randn(2, 3, 40, 40)
    x = F.conv2d(image, model.stem.weight, stride=2, padding=1 if small_stem else 3)
    x = F.relu(normalised(x, model.stem_norm))
    if not small_stem:
        x = F.max_pool2d(x, 3, 2, 1)
    for stage in model.stages:
        for unit in stage:
            x = unit(x)
    torch.testing.assert_close(model(image), x, rtol=1e-4, atol=1e-4)
    assert x.shape[-1] == (5 if small_stem else 3)  # 20 or 10 after the stem, halved twice, rounded up


def test_initial_weights_keep_the_scale_of_what_goes_back():
    model = ResNet(ResNetConfig.named("small"))
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5_000:
            fan_out = module.weight.shape[0] * module.weight[0, 0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
            assert module.bias is None


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"takes float \[batch, 3, 40, 40\]"):
        ResNet(ResNetConfig(**TINY))(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("bottleneck", [True, False])
def test_equals_transformers(bottleneck):
    transformers = pytest.importorskip("transformers", reason="the comparison needs the extra `hub`")
    ours = ResNet(ResNetConfig(**TINY, bottleneck=bottleneck)).eval()
    theirs = transformers.ResNetModel(
        transformers.ResNetConfig(
            embedding_size=TINY["stem"], hidden_sizes=[w * (4 if bottleneck else 1) for w in TINY["widths"]],
            depths=list(TINY["depths"]), layer_type="bottleneck" if bottleneck else "basic",
        )
    ).eval()  # fmt: skip
    state = theirs.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "var" in name else 0.3 * torch.randn_like(value))

    def fill(convolution, norm, prefix):
        convolution.weight.data.copy_(state.pop(f"{prefix}.convolution.weight"))
        for part in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, part).data.copy_(state.pop(f"{prefix}.normalization.{part}"))

    fill(ours.stem, ours.stem_norm, "embedder.embedder")
    for s, stage in enumerate(ours.stages):
        for u, unit in enumerate(stage):
            prefix = f"encoder.stages.{s}.layers.{u}"
            for k, (convolution, norm) in enumerate(zip(unit.convolutions, unit.norms, strict=True)):
                fill(convolution, norm, f"{prefix}.layer.{k}")
            if not isinstance(unit.shortcut, nn.Identity):
                fill(*unit.shortcut, f"{prefix}.shortcut")
    assert all("num_batches_tracked" in name for name in state), list(state)
    image = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image).last_hidden_state, rtol=1e-4, atol=1e-4)

"""A linear readout of frozen features."""

import torch
from torch import Tensor, nn

from tinyvlm.experiments.readout import features, ridge
from tinyvlm.models.vit import ViTOutput


def test_features_do_not_depend_on_the_chunks() -> None:
    class Mean(nn.Module):
        """Mean colours as features, their sum as the only logit."""

        def __init__(self) -> None:
            super().__init__()
            self.anchor = nn.Parameter(torch.zeros(1))

        def forward(self, image: Tensor) -> ViTOutput:
            found = image.mean((2, 3)) + self.anchor
            return ViTOutput(found[:, None], found, found.sum(1, keepdim=True))

    image = torch.randint(256, (7, 3, 12, 12), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    found, logits = features(Mean(), image)
    torch.testing.assert_close(found, image.float().mean((2, 3)) / 127.5 - 1, atol=1e-5, rtol=0)
    parts = features(Mean(), image, chunk=3)
    assert torch.equal(parts[0], found) and torch.equal(parts[1], logits) and not found.requires_grad


def test_ridge_separates_what_is_separable() -> None:
    torch.manual_seed(0)
    centres, label = 5 * torch.randn(6, 8), torch.arange(60) % 6
    support, queries = (centres[label] + 0.1 * torch.randn(60, 8) for _ in range(2))
    assert torch.equal(ridge(support, label, queries), label)
    # Another scale or another origin of the features is no other task.
    assert torch.equal(ridge(100 * support + 3, label, 100 * queries + 3), label)
    alike = ridge(torch.ones(60, 8), label, torch.ones(60, 8))
    assert (alike == alike[0]).all()

"""What frozen features know: a linear readout of a few examples (the ViT paper's cheap evaluation, section 4.1)."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from tinyvlm.encoders import normalise


@torch.inference_mode()
def features(
    model: nn.Module, image: UInt8[Tensor, "b c size size"], chunk: int = 250
) -> tuple[Float[Tensor, "b width"], Float[Tensor, "b classes"]]:
    """Features and logits of a classifier, on the CPU."""
    device = next(model.parameters()).device
    outputs = [model(normalise(part.to(device))) for part in image.split(chunk)]
    return torch.cat([out.features.cpu() for out in outputs]), torch.cat([out.logits.cpu() for out in outputs])


def ridge(
    support: Float[Tensor, "n width"], labels: Int[Tensor, "n"], queries: Float[Tensor, "m width"], weight: float = 10.0
) -> Int[Tensor, "m"]:
    """Classes of `queries` by ridge regression from standardised features to one-hot targets of -1 and 1.

    In closed form, as in the paper; `weight` pulls on all coefficients but the constant's.
    """
    mean, scale = support.mean(0), support.std(0).clamp_min(1e-6)
    x, q = (torch.cat([(part - mean) / scale, torch.ones(len(part), 1)], 1).double() for part in (support, queries))
    targets = 2.0 * nn.functional.one_hot(labels).double() - 1
    penalty = weight * torch.eye(x.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0  # the constant is free
    return (q @ torch.linalg.solve(x.T @ x + penalty, x.T @ targets)).argmax(1)

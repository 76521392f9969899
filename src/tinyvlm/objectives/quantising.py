"""How visual tokenizers learn: the nearest code and its straight-through gradient, the relaxed code, the image's loss.

VQ-VAE (van den Oord et al., arXiv 1711.00937) and the discrete VAE of DALL-E (Ramesh et al., arXiv
2102.12092), which BEiT takes its codes from.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

SQUEEZE = 0.1  # pixels 0..1 become 0.1..0.9, so that their logit is finite


def nearest_code(features: Float[Tensor, "n d"], codebook: Float[Tensor, "k d"]) -> Int[Tensor, " n"]:
    """The code whose vector is nearest by Euclidean distance, in float32 whatever the precision around it."""
    features, codebook = features.float(), codebook.float()
    # |z - e|^2 without |z|^2, which is the same for all codes.
    return (codebook.square().sum(1) - 2 * features @ codebook.T).argmin(1)


def straight_through(features: Float[Tensor, "*b d"], chosen: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Forward the chosen codes, backward as if they were the features (VQ-VAE)."""
    return features + (chosen - features).detach()


def relaxed_codes(
    logits: Float[Tensor, "b n k"], uniforms: Float[Tensor, "b n k"], temperature: float | Tensor
) -> Float[Tensor, "b n k"]:
    """Gumbel-softmax: a draw from softmax(logits) as the temperature goes to 0, and differentiable above it.

    `uniforms` are draws within 0 and 1, exclusive at both ends up to rounding.
    """
    gumbel = -torch.log(-torch.log(uniforms.clamp(1e-9, 1 - 1e-7)))
    return ((logits + gumbel) / temperature).softmax(-1)


def uniform_divergence(logits: Float[Tensor, "b n k"]) -> Float[Tensor, "b n"]:
    """KL(softmax(logits) || uniform) of each place, in nats: ln K minus the entropy."""
    logs = logits.log_softmax(-1)
    return math.log(logits.shape[-1]) + (logs.exp() * logs).sum(-1)


def logit_laplace(
    pixels: Float[Tensor, "b c h w"], mean: Float[Tensor, "b c h w"], log_scale: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """-ln p(x) of pixels x in (0, 1) whose logit is Laplace distributed (DALL-E)."""
    distance = (torch.logit(pixels) - mean).abs()
    return (2.0 * log_scale.exp()).log() + distance * (-log_scale).exp() + (pixels * (1 - pixels)).log()


def perplexity(codes: Int[Tensor, "..."], count: int) -> Float[Tensor, ""]:
    """exp(entropy) of the codes' frequencies: how many of `count` codes are in use, 1 to `count`."""
    shares = torch.bincount(codes.flatten(), minlength=count).double() / max(codes.numel(), 1)
    return torch.special.entr(shares).sum().exp().float()


def k_means(points: Float[Tensor, "n d"], count: int, rounds: int, rng: torch.Generator) -> Float[Tensor, "count d"]:
    """Lloyd's algorithm from `count` different points; a cluster that loses all points restarts at the worst point.

    ValueError for fewer points than clusters.
    """
    if len(points) < count:
        raise ValueError(f"k_means: {len(points)} points cannot make {count} clusters; give at least as many points")
    centres = points[torch.randperm(len(points), generator=rng)[:count].to(points.device)].clone()
    for _ in range(rounds):
        nearest = nearest_code(points, centres)
        sizes = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp_min(1)[:, None], centres)
        empty = (sizes == 0).nonzero().flatten()
        if len(empty):
            error = (points - centres[nearest]).square().sum(1)
            centres[empty] = points[error.topk(len(empty)).indices]
    return centres


def image_error(
    found: Float[Tensor, "b out h w"], image: Float[Tensor, "b c h w"], laplace: bool
) -> Float[Tensor, " b"]:
    """Reconstruction loss of each picture, a mean over its pixels: squared error, or -ln p under a logit-Laplace."""
    if not laplace:
        return F.mse_loss(found, image, reduction="none").flatten(1).mean(1)
    mean, log_scale = found.chunk(2, dim=1)
    return logit_laplace(squeezed(image), mean, log_scale).flatten(1).mean(1)


def squeezed(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Pixels of -1..1 as DALL-E's tokenizer takes them, 0.1..0.9: x -> 0.8 x + 0.1 on the scale 0..1."""
    return (1 - 2 * SQUEEZE) * (image + 1) / 2 + SQUEEZE

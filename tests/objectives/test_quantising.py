"""Codes and how they learn, against loops and known answers."""

import math

import pytest
import torch

from tinyvlm.objectives.quantising import (
    image_error,
    k_means,
    logit_laplace,
    nearest_code,
    perplexity,
    relaxed_codes,
    squeezed,
    straight_through,
    uniform_divergence,
)


def test_the_nearest_code_by_a_loop():
    features, codebook = torch.randn(40, 5), torch.randn(7, 5)
    wanted = [min(range(7), key=lambda k: (z - codebook[k]).square().sum().item()) for z in features]
    assert nearest_code(features, codebook).tolist() == wanted


def test_the_nearest_code_is_found_in_float32_whatever_comes():
    codebook = torch.tensor([[100.0, 0.0], [100.5, 0.0]])
    assert nearest_code(torch.tensor([[100.4, 0.0]]).double(), codebook.double()).item() == 1
    assert nearest_code(torch.tensor([[100.5, 0.0]]).bfloat16(), codebook).item() == 1


def test_the_straight_through_gradient_is_that_of_the_chosen_code():
    features, chosen = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
    direct = chosen.clone().requires_grad_(True)
    out = straight_through(features, chosen)
    torch.testing.assert_close(out, chosen)
    (out.sin() * torch.arange(4.0)).sum().backward()
    (direct.sin() * torch.arange(4.0)).sum().backward()
    torch.testing.assert_close(features.grad, direct.grad)


def test_relaxed_codes_are_draws_from_the_softmax_as_the_temperature_falls(rng):
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(20_000, 1, 3)
    drawn = relaxed_codes(logits, torch.rand(20_000, 1, 3, generator=rng), 0.01)
    assert drawn.amax(-1).mean() > 0.98
    torch.testing.assert_close(
        drawn.argmax(-1).flatten().bincount() / 20_000, logits[0, 0].softmax(0), atol=0.02, rtol=0
    )
    edges = relaxed_codes(logits[:1], torch.tensor([[[0.0, 1.0, 0.5]]]), 1.0)
    assert edges.isfinite().all()


def test_divergence_from_uniform():
    assert uniform_divergence(torch.zeros(1, 2, 8)).abs().max() < 1e-6
    sure = torch.full((1, 1, 8), -100.0)
    sure[..., 3] = 100.0
    assert uniform_divergence(sure).item() == pytest.approx(math.log(8), abs=1e-5)


def test_the_laplace_density_sums_to_one():
    pixels = torch.linspace(1e-5, 1 - 1e-5, 200_001).view(1, 1, 1, -1)
    for mean, scale in ((0.0, 0.5), (1.2, 0.2)):
        losses = logit_laplace(
            pixels, torch.tensor(mean).expand_as(pixels), torch.tensor(scale).log().expand_as(pixels)
        )
        assert torch.trapezoid((-losses).exp().flatten().double(), pixels.flatten().double()).item() == pytest.approx(
            1.0, abs=2e-3
        )


def test_a_pictures_error_is_its_mean_over_pixels():
    image, found = torch.rand(2, 3, 4, 4) * 2 - 1, torch.randn(2, 3, 4, 4)
    wanted = torch.tensor([sum((found[i] - image[i]).square().flatten().tolist()) / 48 for i in range(2)])
    torch.testing.assert_close(image_error(found, image, laplace=False), wanted)
    both = torch.cat([found, torch.zeros_like(found)], 1)
    wanted = logit_laplace(squeezed(image), found, torch.zeros_like(found)).flatten(1).mean(1)
    torch.testing.assert_close(image_error(both, image, laplace=True), wanted)
    torch.testing.assert_close(squeezed(torch.tensor([[[[-1.0, 0.0, 1.0]]]])).flatten(), torch.tensor([0.1, 0.5, 0.9]))


def test_perplexity_counts_the_codes_in_use():
    assert perplexity(torch.zeros(9, dtype=torch.long), 5).item() == pytest.approx(1)
    assert perplexity(torch.arange(8).view(2, 4), 16).item() == pytest.approx(8)


def test_k_means_finds_clusters_that_are_there(rng):
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    points = centres.repeat_interleave(50, 0) + 0.1 * torch.randn(200, 2, generator=rng)
    found = k_means(points, 4, 20, rng)
    assert (torch.cdist(centres, found).min(1).values < 0.2).all(), "an empty cluster restarts, so none is missed"
    error = [
        (points - c[nearest_code(points, c)]).square().sum() for c in (k_means(points, 3, r, rng) for r in (1, 15))
    ]
    assert error[1] <= error[0] * 1.5
    with pytest.raises(ValueError, match="200 points cannot make 201 clusters"):
        k_means(points, 201, 1, rng)

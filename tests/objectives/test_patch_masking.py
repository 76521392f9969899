"""Which patches are hidden: counts, blocks and their statistics; pixels of patches against a loop."""

import math

import pytest
import torch

from tinyvlm.objectives import patch_masking
from tinyvlm.objectives.patch_masking import blockwise_mask, patch_pixels, random_mask


def neighbours(mask: torch.Tensor, side: int) -> float:
    """Share of hidden patches' neighbours (right and below) that are hidden too."""
    grid = mask.view(-1, side, side)
    pairs = (grid[:, :, 1:] & grid[:, :, :-1]).sum() + (grid[:, 1:] & grid[:, :-1]).sum()
    return (pairs / grid.sum()).item()


def test_random_masks_hide_the_same_number_in_every_picture_and_every_place_alike(rng):
    mask = random_mask(4000, 4, 6, rng)
    assert mask.shape == (4000, 16) and mask.sum(1).unique().tolist() == [6]
    assert (mask.double().mean(0) - 6 / 16).abs().max() < 0.04


def test_blocks_hide_at_most_75_of_196_and_mostly_just_that_many(rng):
    """The official generator, simulated: mean 74.5, least 65, exactly 75 in 68 % of masks."""
    counts = blockwise_mask(3000, 14, 75, rng).sum(1)
    assert counts.max() == 75 and counts.min() > 55
    assert abs(counts.double().mean().item() - 74.5) < 0.2
    assert abs((counts == 75).double().mean().item() - 0.68) < 0.04
    assert len(counts.unique()) > 5, "pictures of a batch hide different numbers of patches"


def test_blocks_lie_together_and_random_patches_do_not(rng):
    assert neighbours(blockwise_mask(300, 14, 75, rng), 14) > 1.4
    assert neighbours(random_mask(300, 14, 75, rng), 14) < 0.9


def test_the_first_block_has_the_papers_areas_and_aspects(rng):
    """One block on an empty grid that is large enough for all: area uniform, height / width log-uniform."""
    areas, aspects = [], []
    for _ in range(3000):
        mask = torch.zeros(30, 30, dtype=torch.bool)
        added = patch_masking._add_block(mask, 16, 75, (0.3, 1 / 0.3), rng)
        height, width = int(mask.any(1).sum()), int(mask.any(0).sum())
        assert added == height * width == mask.sum() <= 75
        areas.append(added)
        aspects.append(math.log(height / width))
    assert 12 <= min(areas) < 20 and max(areas) == 75  # rounding of the sides moves an area by a few patches
    assert abs(sum(areas) / len(areas) - 45) < 1.5
    assert max(map(abs, aspects)) < math.log(1 / 0.3) + 0.3 and abs(sum(aspects) / len(aspects)) < 0.06
    # A uniform variable of width 2 ln(1 / 0.3) has this standard deviation.
    assert abs(torch.tensor(aspects).std().item() - 2 * math.log(1 / 0.3) / math.sqrt(12)) < 0.04


def test_no_block_is_placed_that_hides_more_than_is_left_or_nothing_new(rng):
    full = torch.ones(4, 4, dtype=torch.bool)
    assert patch_masking._add_block(full, 2, 6, (0.3, 1 / 0.3), rng) == 0
    for _ in range(200):
        mask = torch.zeros(6, 6, dtype=torch.bool)
        assert patch_masking._add_block(mask, 4, 3, (0.3, 1 / 0.3), rng) == mask.sum() <= 3


def test_masks_follow_the_generator():
    for masks in (random_mask, blockwise_mask):
        one, same, other = (masks(5, 8, 25, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("count", [0, 17])
def test_impossible_counts_are_refused(count, rng):
    for masks in (random_mask, blockwise_mask):
        with pytest.raises(ValueError, match=f"{count} patches of 16 are to be hidden; hide at least 1"):
            masks(2, 4, count, rng)


def test_pixels_of_patches_are_cut_row_by_row():
    image = torch.randn(2, 3, 6, 6)
    found = patch_pixels(image, 3)
    for number, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        patch = image[:, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        assert torch.equal(found[:, number], patch.permute(0, 2, 3, 1).flatten(1))
    scaled = patch_pixels(image, 3, normalised=True)
    torch.testing.assert_close(scaled.mean(-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.var(-1), torch.ones(2, 4), atol=1e-4, rtol=0)
    assert torch.isfinite(patch_pixels(torch.ones(1, 3, 6, 6), 3, normalised=True)).all()

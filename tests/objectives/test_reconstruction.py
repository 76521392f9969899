"""Hidden blocks of patches, pictures as rows of pixel values, and the loss on hidden pixels."""

import pytest
import torch

from tinyvlm.objectives.reconstruction import hidden_blocks, patchify, pixel_loss, unpatchify


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_blocks_of_32_px_cover_four_patches_of_16_px_each_at_the_papers_size():
    hidden = hidden_blocks(50, 224, 16, 32, 0.6, generator())
    grid = hidden.view(50, 14, 14)
    corner = grid[:, ::2, ::2]
    assert corner.shape == (50, 7, 7)
    for down in (0, 1):
        for right in (0, 1):
            assert torch.equal(grid[:, down::2, right::2], corner)
    assert (corner.sum((1, 2)) == 30).all()  # 0.6 of 49 is 29.4, rounded up
    assert 0.4 < corner.float().mean(0).min() < corner.float().mean(0).max() < 0.8  # every block has its turn


@pytest.mark.parametrize(("share", "blocks"), [(0.0, 0), (0.25, 1), (0.3, 2), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_the_share_is_that_of_the_blocks(share, blocks):
    assert (hidden_blocks(20, 48, 12, 24, share, generator()).sum(1) == 4 * blocks).all()


def test_a_share_of_whole_blocks_is_not_rounded_up():
    assert (hidden_blocks(3, 60, 6, 6, 0.07, generator()).sum(1) == 7).all()  # 0.07 * 100 = 7.000000000000001


def test_draws_differ_by_picture_and_repeat_by_seed():
    one, same, other = (hidden_blocks(8, 224, 16, 32, 0.6, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert len({tuple(row.tolist()) for row in one}) == 8


@pytest.mark.parametrize(("size", "patch", "block"), [(48, 24, 12), (48, 12, 18), (48, 16, 32)])
def test_blocks_that_do_not_fit_are_refused(size, patch, block):
    with pytest.raises(ValueError, match="choose a multiple of the patch that divides the picture"):
        hidden_blocks(1, size, patch, block, 0.5, generator())


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match=f"share is {share}; it is a part from 0"):
        hidden_blocks(1, 48, 24, 24, share, generator())


def test_patches_against_a_loop_and_back():
    image = torch.randn(2, 3, 12, 12)
    rows = patchify(image, 4)
    assert rows.shape == (2, 9, 48)
    for place in range(9):
        top, left = 4 * (place // 3), 4 * (place % 3)
        cut = image[:, :, top : top + 4, left : left + 4].permute(0, 2, 3, 1).flatten(1)
        assert torch.equal(rows[:, place], cut)
    assert torch.equal(unpatchify(rows, 4), image)


@pytest.mark.parametrize("power", [1, 2])
def test_the_loss_against_a_loop_over_hidden_pixels(power):
    predicted, target = torch.randn(2, 5, 12, generator=generator(3))
    hidden = torch.tensor([True, False, True, True, False])
    total = count = 0.0
    for patch in hidden.nonzero().flatten().tolist():
        for value in range(12):
            total += abs(predicted[patch, value].item() - target[patch, value].item()) ** power
            count += 1
    assert pixel_loss(predicted[hidden], target[hidden], power).mean().item() == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize(("power", "best"), [(1, 0.0), (2, 0.4)])
def test_l1_wants_the_median_and_l2_the_mean(power, best):
    """Two of five pictures show a sprite (1), three the background (0): under L1 the sprite is not painted at all."""
    target = torch.tensor([0.0, 0, 0, 1, 1]).view(5, 1)
    losses = {
        place / 10: pixel_loss(torch.full_like(target, place / 10), target, power).mean().item() for place in range(11)
    }
    assert min(losses, key=losses.get) == pytest.approx(best)

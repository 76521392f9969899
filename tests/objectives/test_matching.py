"""Wrong captions and pictures: how they are drawn, against plain Python, and the loss on them."""

import math

import pytest
import torch
from torch import Tensor

from tinyvlm.objectives import draw_negatives, matching_loss, shuffled_half


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("pairs", [2, 3, 8, 9])
def test_half_of_the_rows_keep_their_caption(pairs):
    kept, partners = torch.zeros(pairs), torch.zeros(pairs, pairs)
    for seed in range(300):
        owner, matched = shuffled_half(torch.eye(pairs, dtype=torch.bool), generator(seed))
        own = owner == torch.arange(pairs)
        assert own.sum() == math.ceil(pairs / 2) and torch.equal(matched, own)
        kept += own
        partners[torch.arange(pairs), owner] += 1
    share = math.ceil(pairs / 2) / pairs
    assert ((kept / 300 - share).abs() < 5 * math.sqrt(share * (1 - share) / 300)).all()  # no row more often
    assert (partners > 0).all()  # every caption meets every picture


def test_a_caption_of_an_equal_scene_is_matched_after_all():
    scene = torch.tensor([0, 1, 0, 2, 1, 0, 3])
    same, after_all = scene[:, None] == scene, 0
    for seed in range(50):
        owner, matched = shuffled_half(same, generator(seed))
        for i, j in enumerate(owner.tolist()):
            assert matched[i] == (scene[i] == scene[j])
            after_all += int(matched[i]) and i != j
    assert after_all > 20


def test_which_picture_a_caption_is_true_of_is_read_by_picture():
    """`same[i, j]`: caption j of picture i. With a relation that is not symmetric, the two readings differ."""
    same = torch.eye(5, dtype=torch.bool) | torch.ones(5, 5, dtype=torch.bool).triu()
    for seed in range(20):
        owner, matched = shuffled_half(same, generator(seed))
        assert matched.tolist() == [i <= j for i, j in enumerate(owner.tolist())]


def test_a_single_pair_keeps_its_caption(rng):
    owner, matched = shuffled_half(torch.ones(1, 1, dtype=torch.bool), rng)
    assert owner.tolist() == [0] and matched.tolist() == [True]


def slow_draw(similarity: list[float], forbidden: list[bool], uniform: float) -> int:
    """The place where the cumulative share of what is allowed passes the uniform."""
    top = max(s for s, no in zip(similarity, forbidden, strict=True) if not no)
    weights = [0.0 if no else math.exp(s - top) for s, no in zip(similarity, forbidden, strict=True)]
    left = uniform * sum(weights)
    for place, weight in enumerate(weights):
        if weight and left < weight:
            return place
        left -= weight
    raise AssertionError("nothing drawn")


@pytest.mark.parametrize("candidates", [2, 5, 40])
def test_negatives_are_the_loops(candidates):
    similarity, uniforms = 3 * torch.randn(200, candidates), torch.rand(200)
    forbidden = torch.rand(200, candidates) < 0.4
    forbidden[torch.arange(200), torch.randint(candidates, (200,))] = False
    expected = [
        slow_draw(*row) for row in zip(similarity.double().tolist(), forbidden.tolist(), uniforms.tolist(), strict=True)
    ]
    assert draw_negatives(similarity, forbidden, uniforms).tolist() == expected
    assert draw_negatives(similarity.double(), forbidden, uniforms).tolist() == expected


EDGES = torch.tensor([0.0, 2**-24, 0.5, 1 - 2**-24])  # the ends of torch.rand's range


@pytest.mark.parametrize("case", ["forbidden win", "forbidden lose", "one admissible wins", "mixed", "constant"])
def test_no_forbidden_entry_is_ever_drawn(case):
    uniforms, c = EDGES.repeat(50), 6
    forbidden = torch.rand(len(uniforms), c) < 0.7
    forbidden[torch.arange(len(uniforms)), torch.randint(c, (len(uniforms),))] = False
    similarity = {
        "forbidden win": torch.where(forbidden, 1e4, -1e4),
        "forbidden lose": torch.where(forbidden, -1e4, 1e4),
        "one admissible wins": torch.eye(c).repeat(len(uniforms), 1)[: len(uniforms)] * 2e4 - 1e4,
        "mixed": torch.where(torch.rand(forbidden.shape) < 0.5, -1e4, 1e4),
        "constant": torch.zeros(forbidden.shape),
    }[case]
    drawn = draw_negatives(similarity, forbidden, uniforms).unsqueeze(1)
    assert not forbidden.gather(1, drawn).any()
    best = similarity.masked_fill(forbidden, -torch.inf).amax(1, keepdim=True)
    assert torch.equal(similarity.gather(1, drawn), best)  # saturated: nothing but the best has a chance


def test_frequencies_are_the_softmax_of_what_is_allowed():
    similarity, forbidden = torch.tensor([1.0, -2.0, 3.0, 0.5, 2.0]), torch.tensor([False, False, True, False, False])
    draws = 10_000
    uniforms = (torch.arange(draws) + 0.5) / draws
    drawn = draw_negatives(similarity.expand(draws, 5), forbidden.expand(draws, 5), uniforms)
    share = torch.bincount(drawn, minlength=5) / draws
    expected = similarity[~forbidden].softmax(0)
    torch.testing.assert_close(share[~forbidden], expected, rtol=0, atol=2 / draws)
    assert share[2] == 0


def test_constant_similarities_are_uniform():
    forbidden = torch.eye(5, dtype=torch.bool)[2].expand(400, 5)
    drawn = draw_negatives(torch.full((400, 5), 7.0), forbidden, (torch.arange(400) + 0.5) / 400)
    assert torch.bincount(drawn, minlength=5).tolist() == [100, 100, 0, 100, 100]


def test_a_draw_carries_no_gradient():
    similarity = torch.randn(3, 4, requires_grad=True)
    drawn = draw_negatives(similarity, torch.zeros(3, 4, dtype=torch.bool), torch.rand(3))
    assert not drawn.requires_grad and drawn.dtype == torch.long


def test_a_row_with_nothing_to_draw_from_is_named():
    forbidden = torch.eye(4, dtype=torch.bool)
    forbidden[2] = True
    with pytest.raises(ValueError, match=r"row 2 has no admissible negative among 4 candidates.*enlarge the batch"):
        draw_negatives(torch.zeros(4, 4), forbidden, torch.rand(4))


def test_matching_loss_is_the_loop_and_starts_at_ln_2():
    logits, matched = 3 * torch.randn(6, 2).double(), torch.tensor([True, False, True, True, False, False])
    expected = [
        -math.log(math.exp(row[yes]) / (math.exp(row[0]) + math.exp(row[1])))
        for row, yes in zip(logits.tolist(), matched.tolist(), strict=True)
    ]
    torch.testing.assert_close(matching_loss(logits, matched), torch.tensor(expected, dtype=torch.double))
    equal = torch.full((6, 2), 1.7)
    torch.testing.assert_close(matching_loss(equal, matched), torch.full((6,), math.log(2)))


def test_class_1_says_that_they_belong_together():
    sure = torch.tensor([[-5.0, 5.0]])
    assert matching_loss(sure, torch.tensor([True])) < 1e-4 < 9 < matching_loss(sure, torch.tensor([False]))


def test_gradient_pulls_matched_pairs_up(rng):
    logits: Tensor = torch.zeros(2, 2, requires_grad=True)
    matching_loss(logits, torch.tensor([True, False])).sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.5, -0.5], [-0.5, 0.5]]))

"""Which words are hidden, counted; and the loss on them against a loop in plain Python."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyvlm.objectives import mask_tokens, masked_loss, uniform_rates

MASK, RESERVED, VOCABULARY = 3, 4, 104
OFTEN, NEVER = slice(54, 94), slice(94, 104)  # words that are hidden more often, and words that never are


def rates() -> Tensor:
    table = uniform_rates(VOCABULARY, RESERVED, 0.15)
    table[OFTEN], table[NEVER] = 0.6, 0.0
    return table


@pytest.fixture(scope="module")
def draw() -> tuple[Tensor, Tensor, Tensor]:
    """Texts of 300 thousand tokens, ends padded with 0; what was made of them, and where."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(VOCABULARY, (3000, 100), generator=generator)
    ids[:, 90:] = 0
    return ids, *mask_tokens(ids, rates(), MASK, generator)


def near_share(hits: Tensor, share: float) -> None:
    """Five standard deviations of a share of so many draws."""
    assert hits.float().mean().item() == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / hits.numel()))


def test_uniform_rates_spare_the_special_tokens():
    table = uniform_rates(10, 4)
    assert table.shape == (10,) and (table[:4] == 0).all()
    torch.testing.assert_close(table[4:], torch.full((6,), 0.15))
    torch.testing.assert_close(uniform_rates(5, 0, 0.3), torch.full((5,), 0.3))


def test_special_tokens_padding_and_spared_words_are_never_chosen(draw):
    ids, corrupted, chosen = draw
    spared = rates()[ids] == 0
    assert spared[:, 90:].all() and spared[:, :90].any() and not chosen[spared].any()
    assert torch.equal(corrupted[~chosen], ids[~chosen])
    assert corrupted.shape == ids.shape and chosen.dtype == torch.bool and ids[:, 90:].eq(0).all()


def test_words_are_chosen_at_their_rate(draw):
    ids, _, chosen = draw
    for rate in (0.15, 0.6):
        near_share(chosen[rates()[ids] == rate], rate)
    for word in (4, 53, 54, 93):  # each word, not only on average
        near_share(chosen[ids == word], rates()[word].item())


def test_eighty_ten_ten(draw):
    ids, corrupted, chosen = draw
    before, after, words = ids[chosen], corrupted[chosen], int((rates() > 0).sum())
    near_share(after == MASK, 0.8)
    near_share(after == before, 0.1 + 0.1 / words)
    near_share((after != MASK) & (after != before), 0.1 - 0.1 / words)
    for rate in (0.15, 0.6):  # what becomes of a word does not depend on how often it is chosen
        near_share(after[rates()[before] == rate] == MASK, 0.8)


def test_random_words_are_words_with_a_rate_all_alike(draw):
    ids, corrupted, chosen = draw
    random = chosen & (corrupted != MASK) & (corrupted != ids)
    counts = torch.bincount(corrupted[random], minlength=VOCABULARY)
    assert (counts[rates() == 0] == 0).all()
    expected = random.sum() / (rates() > 0).sum()
    assert expected > 80
    assert ((counts[rates() > 0] - expected).abs() < 5 * expected.sqrt()).all()


def test_the_same_generator_gives_the_same_draw():
    ids = torch.randint(VOCABULARY, (20, 30))
    one, two, other = (mask_tokens(ids, rates(), MASK, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    assert not torch.equal(one[1], other[1])


def test_rates_of_one_choose_every_word(rng):
    ids = torch.randint(RESERVED, VOCABULARY, (4, 9))
    assert mask_tokens(ids, uniform_rates(VOCABULARY, RESERVED, 1.0), MASK, rng)[1].all()


def test_rates_of_zero_are_refused(rng):
    with pytest.raises(ValueError, match="all rates are 0, so that no word can ever be hidden; give words a rate"):
        mask_tokens(torch.zeros(1, 2, dtype=torch.long), uniform_rates(9, 9), MASK, rng)


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def slow_masked_loss(logits: Tensor, words: Tensor, teacher: Tensor | None, alpha: float) -> list[float]:
    losses = []
    for i, word in enumerate(words.tolist()):
        said = [math.log(p) for p in softmax(logits[i].tolist())]
        hard = -said[word]
        soft = 0.0 if teacher is None else -sum(p * s for p, s in zip(softmax(teacher[i].tolist()), said, strict=True))
        losses.append(hard if teacher is None else (1 - alpha) * hard + alpha * soft)
    return losses


@pytest.mark.parametrize("alpha", [None, 0.0, 0.4, 1.0])
def test_masked_loss_is_the_loop(alpha):
    logits, words = 3 * torch.randn(6, 7).double(), torch.randint(7, (6,))
    teacher = None if alpha is None else 3 * torch.randn(6, 7).double()
    expected = torch.tensor(slow_masked_loss(logits, words, teacher, alpha or 0.0), dtype=torch.double)
    torch.testing.assert_close(masked_loss(logits, words, teacher, alpha or 0.0), expected)
    torch.testing.assert_close(masked_loss(logits, words, teacher, torch.tensor(alpha or 0.0).double()), expected)
    if alpha == 0.0:
        torch.testing.assert_close(expected, masked_loss(logits, words))
    if alpha == 1.0:  # the label has no say
        torch.testing.assert_close(expected, masked_loss(logits, (words + 1) % 7, teacher, 1.0))


def test_no_hidden_word_costs_nothing():
    nothing = torch.zeros(0, 7, requires_grad=True)
    for teacher in (None, torch.zeros(0, 7)):
        loss = masked_loss(nothing, torch.zeros(0, dtype=torch.long), teacher, 0.4)
        assert loss.shape == (0,) and loss.sum() == 0


def test_only_the_student_learns():
    logits, teacher = torch.randn(5, 7, requires_grad=True), torch.randn(5, 7, requires_grad=True)
    masked_loss(logits, torch.randint(7, (5,)), teacher, 0.4).sum().backward()
    assert (logits.grad.abs().sum(1) > 0).all() and teacher.grad is None


def test_soft_cross_entropy_and_kl_have_one_gradient():
    """They differ by the teacher's entropy, which the student cannot change."""
    logits, teacher = torch.randn(5, 7).double().requires_grad_(), torch.randn(5, 7).double()
    soft = masked_loss(logits, torch.zeros(5, dtype=torch.long), teacher, 1.0)
    kl = F.kl_div(logits.log_softmax(-1), teacher.softmax(-1), reduction="none").sum(-1)
    (of_soft,), (of_kl,) = (torch.autograd.grad(loss.sum(), logits) for loss in (soft, kl))
    torch.testing.assert_close(of_soft, of_kl)
    torch.testing.assert_close(of_soft, logits.detach().softmax(-1) - teacher.softmax(-1))
    entropy = -(teacher.softmax(-1) * teacher.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(soft - kl, entropy)
    assert (entropy > 0.1).all()

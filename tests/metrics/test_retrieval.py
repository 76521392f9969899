"""Recall@K against a slow loop that sorts, and against answers worked out by hand."""

from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tinyvlm.metrics import Recall, ranks, recall_at_k


def slow_recall(scores: Tensor, k: int, owner: list[int]) -> Recall:
    """Sort every row and column, worst order among ties, and look at the first k."""

    def hits(rows: list[list[float]], right: list[set[int]]) -> float:
        found = 0
        for row, answers in zip(rows, right, strict=True):
            order = sorted(range(len(row)), key=lambda j: (-row[j], j in answers))
            found += bool(answers & set(order[:k]))
        return found / len(rows)

    images = scores.shape[0]
    of_image = [{j for j, i in enumerate(owner) if i == image} for image in range(images)]
    return Recall(hits(scores.tolist(), of_image), hits(scores.T.tolist(), [{i} for i in owner]))


def test_known_answer_with_two_captions_per_image() -> None:
    scores = torch.tensor([[0.9, 0.2, 0.8, 0.1], [0.3, 0.7, 0.6, 0.5]])
    owner = torch.tensor([0, 0, 1, 1])
    assert recall_at_k(scores, 1, owner) == Recall(0.5, 0.5)
    assert recall_at_k(scores, 2, owner) == Recall(1.0, 1.0)
    assert recall_at_k(scores, 3, owner).image_to_text == 1.0
    assert ranks(scores, owner[None] == torch.arange(2)[:, None]).tolist() == [1, 2]


@given(st.data())
def test_equals_the_slow_loop(data: st.DataObject) -> None:
    images = data.draw(st.integers(1, 6))
    extra = data.draw(st.lists(st.integers(0, images - 1), max_size=6))
    owner = data.draw(st.permutations(list(range(images)) + extra))  # every image has at least one caption
    # Few distinct values, so that ties are common.
    values = data.draw(st.lists(st.integers(-2, 2), min_size=images * len(owner), max_size=images * len(owner)))
    scores = torch.tensor(values, dtype=torch.float32).view(images, len(owner))
    k = data.draw(st.integers(1, images))
    assert recall_at_k(scores, k, torch.tensor(owner)) == slow_recall(scores, k, owner)


@pytest.mark.parametrize("constant", [0.0, 1.0, -torch.inf, torch.inf])
def test_constant_scores_win_nothing(constant: float) -> None:
    scores = torch.full((8, 8), constant)
    assert recall_at_k(scores, 1) == Recall(0.0, 0.0)
    assert recall_at_k(scores, 8) == Recall(1.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_any_dtype_and_mean(dtype: torch.dtype) -> None:
    scores = torch.tensor([[3, 1], [4, 2]]).to(dtype)
    recall = recall_at_k(scores)
    assert recall == Recall(0.5, 0.5) and recall.mean == 0.5


def test_large_integers_keep_their_order() -> None:
    scores = torch.tensor([[2**30 + 1, 2**30], [2**30, 2**30 + 1]])
    assert recall_at_k(scores) == Recall(1.0, 1.0)


@pytest.mark.parametrize(
    ("scores", "k", "owner", "message"),
    [
        (torch.zeros(2, 3), 1, None, "cannot be paired one to one"),
        (torch.zeros(2, 2), 0, None, "choose k from 1 to 2"),
        (torch.zeros(2, 2), 3, None, "choose k from 1 to 2"),
        (torch.tensor([[0.0, torch.nan], [0.0, 0.0]]), 1, None, "NaN"),
        (torch.zeros(0, 0), 1, None, "empty"),
        (torch.zeros(2, 2), 1, torch.tensor([0, 2]), r"must lie in \[0, 1\]"),
        (torch.zeros(2, 2), 1, torch.tensor([0, 0]), "Image 1 has no caption"),
    ],
)
def test_bad_input_gets_one_sentence(scores: Tensor, k: int, owner: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recall_at_k(scores, k, owner)


def test_a_query_without_an_answer_is_named() -> None:
    with pytest.raises(ValueError, match="Query 1 has no relevant candidate"):
        ranks(torch.zeros(2, 2), torch.tensor([[True, False], [False, False]]))


@given(st.data())
def test_both_ways_of_ranking_agree(data: st.DataObject) -> None:
    """`recall_at_k` counts without the mask that `ranks` takes."""
    images, captions = data.draw(st.integers(1, 5)), data.draw(st.integers(5, 9))
    owner = torch.arange(captions) % images
    values = data.draw(st.lists(st.integers(-2, 2), min_size=images * captions, max_size=images * captions))
    scores = torch.tensor(values).view(images, captions)
    relevant = owner[None] == torch.arange(images)[:, None]
    for k in range(1, images + 1):
        expected = [float((ranks(s, r) <= k).double().mean()) for s, r in ((scores, relevant), (scores.T, relevant.T))]
        assert recall_at_k(scores, k, owner) == Recall(*expected)


@given(st.data())
def test_the_order_of_pictures_and_captions_does_not_matter(data: st.DataObject) -> None:
    images = data.draw(st.integers(1, 6))
    scores = torch.tensor(data.draw(st.lists(st.integers(-2, 2), min_size=images**2, max_size=images**2))).view(
        images, images
    )
    rows, columns = (torch.tensor(data.draw(st.permutations(range(images)))) for _ in range(2))
    recall = recall_at_k(scores, 1)
    # Row a of the shuffled matrix is picture rows[a]; column b is caption columns[b], of picture columns[b].
    assert recall_at_k(scores[rows][:, columns], 1, rows.argsort()[columns]) == recall
    assert 0 <= recall.mean <= 1 and recall_at_k(scores, images) == Recall(1.0, 1.0)


def test_recall_grows_with_k_and_equals_the_hit_rate_of_torchmetrics(torchmetrics: ModuleType) -> None:
    scores = torch.randn(12, 36)
    owner = torch.arange(36) % 12
    relevant = owner[None] == torch.arange(12)[:, None]
    hit_rate = torchmetrics.functional.retrieval.retrieval_hit_rate
    before = 0.0
    for k in (1, 3, 5, 12):
        recall = recall_at_k(scores, k, owner)
        rows = [hit_rate(s, r, top_k=k) for s, r in zip(scores, relevant, strict=True)]
        columns = [hit_rate(s, r, top_k=k) for s, r in zip(scores.T, relevant.T, strict=True)]
        assert recall.image_to_text == pytest.approx(float(torch.stack(rows).mean()), abs=1e-6)
        assert recall.text_to_image == pytest.approx(float(torch.stack(columns).mean()), abs=1e-6)
        assert recall.mean >= before
        before = recall.mean


def test_scores_that_need_gradients_are_fine() -> None:
    assert recall_at_k(torch.eye(3, requires_grad=True)) == Recall(1.0, 1.0)

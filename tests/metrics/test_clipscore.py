"""CLIPScore on made-up vectors, where every cosine is known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cosine

from tinyvlm.metrics import clip_score, ref_clip_score

vectors = st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3).filter(lambda v: math.hypot(*v) > 0.1)


def angled(*cosines: float) -> torch.Tensor:
    """Vectors of several lengths with these cosines to the first axis."""
    return torch.tensor([[c, math.sqrt(1 - c * c)] for c in cosines]) * 3


def test_known_answer() -> None:
    assert clip_score(torch.tensor([[2.0, 0.0]]), angled(0.4)).tolist() == pytest.approx([1.0])


def test_negative_cosines_count_as_0() -> None:
    image = torch.tensor([[1.0, 0.0]]).expand(3, -1)
    assert clip_score(image, angled(-0.9, 0.0, 1.0)).tolist() == pytest.approx([0, 0, 2.5])


def test_harmonic_mean_with_the_nearest_reference() -> None:
    # The caption lies on the axis; the picture at 0.4 gives 1.0; the references at 0.2, 0.8 and -1.
    caption, image = torch.tensor([[1.0, 0.0]]), angled(0.4)
    references = angled(0.2, 0.8, -1.0)[None]
    assert ref_clip_score(image, caption, references).tolist() == pytest.approx([2 * 1.0 * 0.8 / 1.8])
    real = torch.tensor([[True, False, True]])
    assert ref_clip_score(image, caption, references, real).tolist() == pytest.approx([2 * 1.0 * 0.2 / 1.2])
    assert ref_clip_score(image, caption, references[:, 2:]).tolist() == [0.0]
    assert ref_clip_score(angled(-0.5), caption, references[:, 2:]).tolist() == [0.0]


def test_places_that_are_filled_up_may_hold_anything() -> None:
    image, caption = torch.ones(2, 2), torch.ones(2, 2)
    references = torch.stack([torch.ones(2, 2), torch.tensor([[torch.nan, 0.0], [0.0, 0.0]])], dim=1)
    real = torch.tensor([[True, False], [True, False]])
    assert ref_clip_score(image, caption, references, real).tolist() == pytest.approx([10 / 7, 10 / 7])


@given(st.lists(st.tuples(vectors, vectors, vectors, vectors), min_size=1, max_size=5))
def test_equals_the_slow_loop(rows) -> None:
    image, caption, *references = (torch.tensor([row[i] for row in rows], dtype=torch.float64) for i in range(4))
    scores = clip_score(image, caption)
    ref_scores = ref_clip_score(image, caption, torch.stack(references, dim=1))
    for row, (i, c, *many) in enumerate(rows):
        first = 2.5 * max(0.0, 1 - cosine(i, c))
        second = max(0.0, *(1 - cosine(c, r) for r in many))
        assert float(scores[row]) == pytest.approx(first, abs=1e-9)
        expected = 2 * first * second / (first + second) if first > 1e-8 and second > 1e-8 else 0.0
        assert float(ref_scores[row]) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_vector_with_itself_never_scores_above_the_maximum(dtype: torch.dtype) -> None:
    vectors = torch.randn(2000, 37).to(dtype)
    assert 2.49 < float(clip_score(vectors, vectors).max()) <= 2.5
    assert float(ref_clip_score(vectors, vectors, vectors[:, None]).max()) <= float(torch.tensor(10 / 7))


def test_low_precision_is_computed_in_float32() -> None:
    image, caption = torch.randn(4, 16).bfloat16(), torch.randn(4, 16).bfloat16()
    scores = clip_score(image, caption)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, clip_score(image.float(), caption.float()))


@pytest.mark.parametrize(
    ("images", "captions", "message"),
    [
        (torch.ones(2, 3), torch.ones(1, 3), "2 images and 1 captions"),
        (torch.ones(0, 3), torch.ones(0, 3), "0 images and 0 captions"),
        (torch.ones(1, 3), torch.zeros(1, 3), "A vector in captions is zero or not finite"),
        (torch.full((1, 3), torch.inf), torch.ones(1, 3), "A vector in images is zero or not finite"),
    ],
)
def test_bad_vectors_get_one_sentence(images: torch.Tensor, captions: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip_score(images, captions)


def test_bad_references_get_one_sentence() -> None:
    one = torch.ones(1, 3)
    with pytest.raises(ValueError, match="at least one reference for every caption"):
        ref_clip_score(one, one, torch.ones(1, 0, 3))
    with pytest.raises(ValueError, match="at least one reference for every caption"):
        ref_clip_score(one, one, torch.ones(2, 1, 3))
    with pytest.raises(ValueError, match="no reference that `real` marks True"):
        ref_clip_score(one, one, torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="A vector in references is zero"):
        ref_clip_score(one, one, torch.zeros(1, 2, 3))

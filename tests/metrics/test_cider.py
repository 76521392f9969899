"""CIDEr-D against COCO's scorer and answers worked out by hand."""

import random

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider

from tinyvlm.metrics import bleu, cider_d


def test_known_answers(toy) -> None:
    result = cider_d(*toy)
    assert result.per_image == pytest.approx([6.066255, 3.222800, 0], abs=1e-6)
    assert result.mean == pytest.approx(3.096352, abs=1e-6)


def test_equals_coco(corpus, coco) -> None:
    mean, per_image = Cider().compute_score(*coco)
    result = cider_d(*corpus)
    assert np.abs(result.per_image - per_image).max() < 1e-9
    assert result.mean == pytest.approx(mean, abs=1e-9)


def test_equals_coco_with_another_width(corpus, coco) -> None:
    _, per_image = Cider(sigma=2.0).compute_score(*coco)
    assert np.abs(cider_d(*corpus, sigma=2.0).per_image - per_image).max() < 1e-9


def test_one_picture_alone_scores_0() -> None:
    assert cider_d(["a cat on a mat"], [["a cat on a mat"]]).mean == 0


def test_the_only_reference_itself_scores_10() -> None:
    captions = ["a cat is on the mat", "two dogs run in a park", "no one rides"]
    per_image = cider_d(captions, [[caption] for caption in captions]).per_image
    assert per_image[:2] == pytest.approx([10, 10], abs=1e-12)
    assert per_image[2] == pytest.approx(7.5, abs=1e-12)  # three words have no 4-gram


def test_the_test_set_changes_the_score() -> None:
    """The same caption of the same picture, beside other pictures."""
    alone = cider_d(["a red cat", "a dog"], [["a cat"], ["a dog"]]).per_image[0]
    among_cats = cider_d(["a red cat", "a cat"], [["a cat"], ["a cat"]]).per_image[0]
    assert alone > among_cats == 0


def test_order_does_not_matter_and_words_may_be_renamed(corpus) -> None:
    hypotheses, references = corpus
    order = random.Random(0).sample(range(len(hypotheses)), len(hypotheses))
    renamed = str.maketrans("abcdef", "zyxwvu")
    shuffled = cider_d(
        [hypotheses[i].translate(renamed) for i in order],
        [[caption.translate(renamed) for caption in references[i][::-1]] for i in order],
    )
    result = cider_d(hypotheses, references)
    assert shuffled.per_image == pytest.approx(result.per_image[order], abs=1e-12)
    assert result.per_image.min() >= 0 and result.per_image.max() <= 10 + 1e-12


def test_a_generic_caption_wins_nothing() -> None:
    """Said of every picture, and true of every picture: its n-grams are in all references, so they weigh nothing."""
    references = [["a picture of a cat"], ["a picture of a dog"], ["a picture of a bus"]]
    generic = ["a picture of a"] * 3
    assert cider_d(generic, references).mean == 0
    assert bleu(generic, references).scores[3] > 0.7


def test_empty_hypotheses_score_0() -> None:
    assert cider_d(["", "a dog runs"], [["a cat"], ["a dog runs"]]).per_image[0] == 0
    assert cider_d(["", ""], [["a"], ["b"]]).mean == 0


@pytest.mark.parametrize(("options", "message"), [({"n": 0}, "n=0 is no n-gram"), ({"sigma": 0.0}, "sigma=0.0 must")])
def test_bad_options_get_one_sentence(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cider_d(["a"], [["a"]], **options)

"""Captions as words, and the sentences that bad captions get."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.metrics import bleu, caption_words, cider_d, rouge_l


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A cat's on the Mat.", "a cat 's on the mat"),
        ("They don't run, do they?", "they do n't run do they"),
        ("You can't; it’s 3 o'clock!", "you ca n't it 's 3 o'clock"),
        ("a t-shirt for $1,000.50 & more", "a t-shirt for $ 1,000.50 & more"),
        ('the "red" (big) one...', "the red big one"),
        ("We've, they're, she'll, I'd, I'm", "we 've they 're she 'll i 'd i 'm"),
        ("It cannot be", "it can not be"),
        ("the dogs' toys - two -- three", "the dogs toys two three"),
        ("고양이는 왼쪽에, 개는 오른쪽에 있다.", "고양이는 왼쪽에 개는 오른쪽에 있다"),
        ("  \n ", ""),
        ("...", ""),
    ],
)
def test_words_of_a_caption(caption: str, words: str) -> None:
    assert caption_words(caption) == words


@given(st.text(alphabet="aZ '’.,-n't3$(), \n", max_size=30))
def test_words_are_parted_by_single_blanks_and_stay_as_they_are(caption: str) -> None:
    words = caption_words(caption)
    assert words == " ".join(words.split()) and words == words.lower()
    assert not set(words.split()) & set(".,-()'")


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider_d])
@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], "no captions to score"),
        ("a cat", [["a cat"]], "hypotheses is one string"),
        (["a cat"], [["a cat"], ["a dog"]], "1 hypotheses and 2 lists of references"),
        (["a cat"], ["a cat"], "references of image 0 are one string"),
        (["a cat", "a dog"], [["a cat"], []], "Image 1 has no references"),
        (["a cat"], [["a cat", " "]], "A reference of image 0 has no words"),
    ],
)
def test_bad_captions_get_one_sentence(metric, hypotheses, references, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(hypotheses, references)

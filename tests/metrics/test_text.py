"""Captions as words, and the sentences that bad captions get."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvlm.data import World
from tinyvlm.data.words import LANGUAGES
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
        (".5 or 1.5, 3:30; -5 and 1/2", ".5 or 1.5 3:30 5 and 1 / 2"),
        ("The U.S. at 5 p.m., e.g. J.K. and Mr. X.", "the u.s. at 5 p.m. e.g. j.k. and mr x"),
        ("a dog.A cat, plan a.o'clock", "a dog a cat plan a o'clock"),
        ("“a” ‘b’ „c“ «d» … – —", "a b c d"),
        ("100％ & 5 § #1 @x", "100 ％ & 5 § # 1 @ x"),
        ("a t‑shirt, a soft\u00adhyphen, zero\u200bwidth", "a t-shirt a softhyphen zero width"),
        ("¿Qué es? ¡Un perro!", "qué es un perro"),
        ("बिल्ली मेज़ पर बैठी है।", "बिल्ली मेज़ पर बैठी है"),
        ("३.५ मीटर॥", "३.५ मीटर"),
        ("كلب، قطة؟ قَلْبٌ؛", "كلب قطة قَلْبٌ"),
        ("می\u200cخواهم.", "می\u200cخواهم"),
        ("צה״ל וג׳ירפה", "צה״ל וג׳ירפה"),
        ("「犬」、猫。", "犬 猫"),
        ("ሰላም፡ለዓለም።", "ሰላም ለዓለም"),
        ("แมวอยู่บนโต๊ะ", "แมวอยู่บนโต๊ะ"),
        ("ἆρα; Ινα·", "ἆρα ινα"),
        ("Ինչո՞ւ։", "ինչու"),
        ("❤️ 👨\u200d👩\u200d👧 🐶🐱!", "❤️ 👨\u200d👩\u200d👧 🐶 🐱"),
        ("  \n ", ""),
        ("...", ""),
    ],
)
def test_words_of_a_caption(caption: str, words: str) -> None:
    assert caption_words(caption) == words


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12))
def test_however_a_text_is_composed_its_words_are_the_same(caption: str) -> None:
    words = caption_words(caption)
    assert words == caption_words(unicodedata.normalize("NFD", caption))
    assert words == " ".join(words.split())


def test_one_caption_in_two_spellings_is_one_caption() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Un café, 개와 बिल्ली.") for form in ("NFC", "NFD"))
    assert rouge_l([caption_words(composed)], [[caption_words(decomposed)]]).mean == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_of_every_language_keep_the_words_between_their_blanks(language: str) -> None:
    for caption in World(language=language).captions(range(200)):
        kinds = {sign: unicodedata.category(sign) for sign in caption.lower() if sign not in "-'’"}
        shown = "".join(sign for sign in caption.lower() if kinds.get(sign) != "Cf" or sign == "\u200d")
        words = "".join(" " if kinds.get(sign, "")[:1] == "P" else sign for sign in shown).replace("’", "'").split()
        assert caption_words(caption).split() == words


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

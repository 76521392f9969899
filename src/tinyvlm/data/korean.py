"""Korean particles: which of two forms follows a word depends on the sound that the word ends in.

은/는, 이/가, 을/를, 과/와 and 이다/다 take their first form after a final consonant; 으로/로 takes 로 after a vowel
and after ㄹ (서울로, 집으로). Hangul carries its final consonant in its code point; for digits and Latin letters the
Korean reading decides (3 is 삼, "TV" 티브이, "bus" 버스).
"""

from __future__ import annotations

_FIRST_SYLLABLE, _LAST_SYLLABLE, _FINALS, _RIEUL = 0xAC00, 0xD7A3, 28, 8
_JAMO_CONSONANTS = range(0x3131, 0x314F)  # ㄱ to ㅎ, named 기역 ... 히읗: all end in a consonant

# Endings of the readings: "" vowel, "ㄹ" rieul, "x" another consonant.
_DIGITS = dict(zip("0123456789", ("x", "ㄹ", "", "x", "", "", "x", "ㄹ", "ㄹ", ""), strict=True))
_CAPITALS = {"L": "ㄹ", "R": "ㄹ", "M": "x", "N": "x"}  # 엘, 알, 엠, 엔; every other letter's name ends in a vowel
_LATIN = {"l": "ㄹ", "b": "x", "c": "x", "k": "x", "m": "x", "n": "x", "p": "x", "t": "x"}  # as loanwords: 캣, 북

_PAIRS = (("은", "는"), ("이", "가"), ("을", "를"), ("과", "와"), ("으로", "로"), ("이다", "다"), ("이고", "고"))
_FORMS: dict[str, tuple[str, str]] = {
    name: pair for pair in _PAIRS for name in ("/".join(pair), "/".join(reversed(pair)))
}


def ending(word: str) -> str:
    """How `word` ends when read aloud in Korean: "" in a vowel, "ㄹ", or "x" for any other consonant.

    Closing brackets, quotes and other signs are silent. A word without a letter or digit counts as ending in a vowel.
    """
    readable = [i for i, letter in enumerate(word) if letter.isalnum()]
    if not readable:
        return ""
    last = word[readable[-1]]
    code = ord(last)
    if _FIRST_SYLLABLE <= code <= _LAST_SYLLABLE:
        final = (code - _FIRST_SYLLABLE) % _FINALS
        return "" if final == 0 else "ㄹ" if final == _RIEUL else "x"
    if code in _JAMO_CONSONANTS:
        return "ㄹ" if last == "ㄹ" else "x"
    if last in _DIGITS:
        return _DIGITS[last]
    if last.isupper():
        return _CAPITALS.get(last, "")
    return "x" if word[: readable[-1] + 1].endswith("ng") else _LATIN.get(last, "")


def particle(word: str, pair: str) -> str:
    """The form of a particle that follows `word`: particle("고양이", "은/는") is "는".

    Raises ValueError for a pair that is not one of the known ones.
    """
    if pair not in _FORMS:
        raise ValueError(f"unknown particle {pair!r}: choose one of {', '.join(_FORMS)}")
    after_consonant, after_vowel = _FORMS[pair]
    sound = ending(word)
    if after_consonant == "으로":
        return "으로" if sound == "x" else "로"
    return after_consonant if sound else after_vowel


class Korean(str):
    """A word that takes its particle in a format string: f"{Korean('개'):은/는}" is "개는"."""

    def __format__(self, pair: str) -> str:
        return str(self) + particle(self, pair) if pair else str(self)

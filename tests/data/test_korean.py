import pytest

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.korean import Korean, ending, particle


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("개", "개는 개가 개를 개와 개로"),
        ("곰", "곰은 곰이 곰을 곰과 곰으로"),
        ("고양이", "고양이는 고양이가 고양이를 고양이와 고양이로"),
        ("지하철", "지하철은 지하철이 지하철을 지하철과 지하철로"),  # ㄹ: 로
        ("흰색", "흰색은 흰색이 흰색을 흰색과 흰색으로"),
        ("부엌", "부엌은 부엌이 부엌을 부엌과 부엌으로"),
        ("닭", "닭은 닭이 닭을 닭과 닭으로"),  # a double final ending in ㄱ
        ("TV", "TV는 TV가 TV를 TV와 TV로"),
        ("LP", "LP는 LP가 LP를 LP와 LP로"),
        ("CCTV 3", "CCTV 3은 CCTV 3이 CCTV 3을 CCTV 3과 CCTV 3으로"),  # 삼
        ("8", "8은 8이 8을 8과 8로"),  # 팔
        ("10", "10은 10이 10을 10과 10으로"),  # 십
        ("URL", "URL은 URL이 URL을 URL과 URL로"),  # 엘
        ("book", "book은 book이 book을 book과 book으로"),  # 북
        ("bus", "bus는 bus가 bus를 bus와 bus로"),  # 버스
        ("ring", "ring은 ring이 ring을 ring과 ring으로"),  # 링
        ("집(큰)", "집(큰)은 집(큰)이 집(큰)을 집(큰)과 집(큰)으로"),
        ("“나무”", "“나무”는 “나무”가 “나무”를 “나무”와 “나무”로"),
        ("ㄴ", "ㄴ은 ㄴ이 ㄴ을 ㄴ과 ㄴ으로"),  # 니은
        ("…", "…는 …가 …를 …와 …로"),
        ("", "는 가 를 와 로"),
    ],
)  # fmt: skip
def test_particles(word: str, expected: str) -> None:
    made = [word + particle(word, pair) for pair in ("은/는", "이/가", "을/를", "과/와", "으로/로")]
    assert " ".join(made) == expected


def test_every_syllable_against_its_decomposition() -> None:
    # Unicode's own decomposition says whether there is a final consonant, and which.
    import unicodedata

    for code in range(0xAC00, 0xD7A4):
        jamo = unicodedata.normalize("NFD", chr(code))
        final = jamo[2] if len(jamo) == 3 else ""
        assert ending(chr(code)) == ("" if not final else "ㄹ" if final == "\u11af" else "x")


def test_pairs_may_be_named_either_way_round() -> None:
    assert particle("개", "는/은") == "는" and particle("곰", "로/으로") == "으로"
    assert f"{Korean('은색'):이다/다} {Korean('판다'):이다/다}" == "은색이다 판다다"
    assert f"{Korean('곰')}" == "곰"


def test_unknown_particle() -> None:
    with pytest.raises(ValueError, match=r"unknown particle '이랑'.*은/는"):
        particle("개", "이랑")


def test_every_noun_ends_in_something_readable() -> None:
    table = load_emoji()
    assert all(any(letter.isalnum() for letter in table.name(i, "ko")) for i in range(len(table.nouns)))

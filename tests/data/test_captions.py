import re
from dataclasses import replace

import numpy as np
import pytest

from tinyvlm.data.captions import captions, choose_phrasing, relation_of, template_sentences
from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.korean import particle
from tinyvlm.data.scenes import SPLITS, Scenes, SceneSpec, content, sample_scenes
from tinyvlm.data.words import (
    BACKGROUNDS,
    CELLS,
    COLOURS,
    KOREAN,
    LANGUAGES,
    NUMBERS,
    RELATIONS,
    SIDES,
    adnominal,
    word,
)

PLACES = SceneSpec(plates=8, backgrounds=8, sizes=True)
RELATIONAL = SceneSpec(plates=8, backgrounds=8, sizes=True, relations=1)
COPIES = SceneSpec(plates=8, backgrounds=8, sizes=True, repeats=1)
MIXED = SceneSpec(plates=8, backgrounds=8, sizes=True, relations=0.3, repeats=0.3)

COLOUR, PLACE, GROUND = (f"({'|'.join(words)})" for words in (COLOURS, CELLS, BACKGROUNDS))
THING = r"the (small )?(\w+)"
ENGLISH = (  # one object, and what stands around all of them, for each phrasing
    (rf"{THING} on {COLOUR} {PLACE}", rf"we see .* over {GROUND}", "noun colour place"),
    (rf"{THING} {PLACE} on {COLOUR}", rf"the {GROUND} background shows .*", "noun place colour"),
    (rf"{PLACE} {THING} on {COLOUR}", rf"on {GROUND} we find .*", "place noun colour"),
    (rf"{COLOUR} {PLACE} holds {THING}", rf".*, all on {GROUND}", "colour place noun"),
)


def things(scenes: Scenes, row: int) -> set[tuple[str, str, str, bool]]:
    """The facts of a scene: (noun, colour, place, small) for each object."""
    names = load_emoji().names("en")
    return {
        (names[scenes.noun[row, k]], COLOURS[scenes.plate[row, k]], CELLS[k], bool(scenes.size[row, k] == 0))
        for k in range(4)
        if scenes.noun[row, k] >= 0
    }


def parse(text: str, phrasing: int) -> tuple[set[tuple[str, str, str, bool]], str]:
    """The facts of an English caption that names places, and its background."""
    one, frame, order = ENGLISH[phrasing]
    around = re.fullmatch(frame, text)
    assert around, text
    found = set()
    for groups in re.findall(one, text):
        parts, at = {}, 0
        for slot in order.split():
            if slot == "noun":
                parts["small"], parts["noun"] = groups[at] != "", groups[at + 1]
                at += 2
            else:
                parts[slot] = groups[at]
                at += 1
        found.add((parts["noun"], parts["colour"], parts["place"], parts["small"]))
    assert len(re.findall(one, text)) == 1 + text.count(", ") + text.count(" and ") - (phrasing == 3)
    return found, around.group(1)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("phrasing", range(4))
def test_english_captions_parse_back_to_their_scenes(split: str, phrasing: int) -> None:
    scenes = sample_scenes(PLACES, split, 0, np.arange(200))
    for row, text in enumerate(captions(scenes, phrasing=phrasing)):
        assert parse(text, phrasing) == (things(scenes, row), BACKGROUNDS[scenes.background[row]])


@pytest.mark.parametrize("phrasing", range(4))
def test_english_relations_say_what_holds(phrasing: int) -> None:
    scenes = sample_scenes(RELATIONAL, "train", 0, np.arange(300))
    how, side = f"({'|'.join(RELATIONS)})", f"({'|'.join(SIDES)})"
    thing = rf"{THING} on {COLOUR}"
    pattern = (
        rf"{thing} is {how} {thing}, both at the {side} over {GROUND}",
        rf"the {GROUND} background shows {thing} {how} {thing} at the {side}",
        rf"on {GROUND} at the {side} we find {thing} {how} {thing}",
        rf"{how} {thing} we see {thing}, both at the {side} on {GROUND}",
    )[phrasing]
    for row, text in enumerate(captions(scenes, phrasing=phrasing)):
        match = re.fullmatch(pattern, text)
        assert match, text
        g = match.groups()
        a, relation, b, row_or_column, ground = (
            (g[0:3], g[3], g[4:7], g[7], g[8]),
            (g[1:4], g[4], g[5:8], g[8], g[0]),
            (g[2:5], g[5], g[6:9], g[1], g[0]),
            (g[4:7], g[0], g[1:4], g[7], g[8]),
        )[phrasing]
        place = {(noun, colour, small): CELLS.index(where) for noun, colour, where, small in things(scenes, row)}
        (ya, xa), (yb, xb) = (divmod(place[t[1], t[2], bool(t[0])], 2) for t in (a, b))
        holds = {"left of": ya == yb and xa < xb, "right of": ya == yb and xa > xb,
                 "above": xa == xb and ya < yb, "below": xa == xb and ya > yb}  # fmt: skip
        shared = {"left": xa == xb == 0, "right": xa == xb == 1, "top": ya == yb == 0, "bottom": ya == yb == 1}
        assert holds[relation] and shared[row_or_column] and ground == BACKGROUNDS[scenes.background[row]]


@pytest.mark.parametrize("phrasing", range(4))
def test_english_copies_give_the_number(phrasing: int) -> None:
    scenes = sample_scenes(COPIES, "train", 0, np.arange(200))
    table = load_emoji()
    pattern = (
        rf"we see (\w+) (small )?(\w+) on {COLOUR} over {GROUND}",
        rf"the {GROUND} background shows on {COLOUR} (\w+) (small )?(\w+)",
        rf"on {GROUND} we find (\w+) (small )?(\w+) on {COLOUR}",
        rf"{COLOUR} holds (\w+) (small )?(\w+), all on {GROUND}",
    )[phrasing]
    for row, text in enumerate(captions(scenes, phrasing=phrasing)):
        match = re.fullmatch(pattern, text)
        assert match, text
        k = int(scenes.noun[row].argmax())
        said = {"number": NUMBERS[scenes.count[row]], "noun": table.plural(int(scenes.noun[row, k])),
                "colour": COLOURS[scenes.plate[row, k]], "ground": BACKGROUNDS[scenes.background[row]]}  # fmt: skip
        assert set(match.groups()) - {None, "small "} == set(said.values())
        assert ("small " in match.groups()) == (scenes.size[row, k] == 0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_differ_exactly_where_contents_do(language: str) -> None:
    small = SceneSpec(objects=(1, 2), nouns=5, plates=2, backgrounds=2, sizes=True, repeats=0.3)
    scenes = sample_scenes(small, "train", 0, np.arange(1500))
    for phrasing in range(4):
        by_content: dict[int, set[str]] = {}
        for code, text in zip(content(scenes).tolist(), captions(scenes, language, phrasing), strict=True):
            by_content.setdefault(code, set()).add(text)
        assert len(by_content) > 150
        assert all(len(texts) == 1 for texts in by_content.values())
        assert len(set.union(*by_content.values())) == len(by_content)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_captions_of_different_scenes_are_equal(language: str) -> None:
    scenes = sample_scenes(MIXED, "train", 0, np.arange(1500))
    owners: dict[str, set[int]] = {}
    for code, text in zip(content(scenes).tolist(), captions(scenes, language), strict=True):
        owners.setdefault(text, set()).add(code)
    assert all(len(codes) == 1 for codes in owners.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_phrasings_differ_and_name_everything(language: str) -> None:
    scenes = sample_scenes(PLACES, "val", 0, np.arange(50))
    names = load_emoji().names(language)
    versions = [captions(scenes, language, phrasing) for phrasing in range(4)]
    for row in range(50):
        texts = [version[row] for version in versions]
        assert len(set(texts)) == 4
        cells = [k for k in range(4) if scenes.noun[row, k] >= 0]
        colours = [COLOURS[scenes.plate[row, k]] for k in cells]
        for text in texts:
            for k in cells:
                assert names[scenes.noun[row, k]] in text and word(CELLS[k], language) in text
            for colour in [*colours, BACKGROUNDS[scenes.background[row]]]:
                assert word(colour, language) in text or (language == "ko" and adnominal(colour) in text)


def test_korean_particles_fit_the_word_before_them() -> None:
    scenes = sample_scenes(MIXED, "train", 0, np.arange(800))
    names = load_emoji().names("ko")
    numbers = [word(number, "ko") for number in NUMBERS]
    known = "|".join(map(re.escape, [*names, *numbers]))
    checked = 0
    for text in captions(scenes, "ko"):
        for pair in ("은/는", "이/가", "을/를", "과/와"):
            for noun, form in re.findall(rf"({known})([{pair[0]}{pair[2]}])[ ,.]", text):
                # Some nouns end like a particle ("가" in "도로 가"); a longer noun that fits takes precedence.
                if not any(name.endswith(noun + form) and name in text for name in names):
                    assert form == particle(noun, pair), text
                    checked += 1
        assert re.search(r"(이다|있다|놓았다)\.$", text), text
    assert checked > 500


def test_known_sentences() -> None:
    base = sample_scenes(SceneSpec(), "train", 0, [0])
    table = load_emoji()
    dog, cat = table.names().index("dog"), table.names().index("cat")
    scene = replace(
        base,
        noun=np.array([[dog, -1, -1, cat]], np.int16), plate=np.array([[0, 0, 0, 1]], np.int8),
        size=np.array([[1, 0, 0, 0]], np.int8), background=np.array([0], np.int8),
    )  # fmt: skip
    assert [captions(scene, "en", p)[0] for p in range(4)] == [
        "we see the dog on red top left and the small cat on blue bottom right over cream",
        "the cream background shows the small cat bottom right on blue and the dog top left on red",
        "on cream we find top left the dog on red and bottom right the small cat on blue",
        "blue bottom right holds the small cat and red top left holds the dog, all on cream",
    ]
    assert [captions(scene, "ko", phrasing)[0] for phrasing in range(4)] == [
        "왼쪽 위 빨간 판에 개가 있고, 오른쪽 아래 파란 판에 작은 고양이가 있다. 배경은 크림색이다.",
        "크림색 배경에 작은 고양이는 오른쪽 아래 파란 판에, 개는 왼쪽 위 빨간 판에 놓여 있다.",
        "배경을 크림색으로 칠하고 왼쪽 위 빨간 판에 개를, 오른쪽 아래 파란 판에 작은 고양이를 놓았다.",
        "이 그림에는 오른쪽 아래 파란 판 위의 작은 고양이와 왼쪽 위 빨간 판 위의 개가 보이고, 배경은 크림색이다.",
    ]
    noun = table.name(dog, "fr"), table.name(cat, "fr")
    assert captions(scene, "fr", 0) == [
        f"{noun[0]} — en haut à gauche, rouge; {noun[1]} (petit) — en bas à droite, bleu; fond — crème"
    ]


def test_phrasing_follows_the_scene_and_every_one_occurs() -> None:
    scenes = sample_scenes(SceneSpec(), "train", 0, np.arange(400))
    chosen = choose_phrasing(scenes)
    assert np.bincount(chosen, minlength=4).min() > 60
    assert captions(scenes) == [captions(scenes[[row]], phrasing=int(p))[0] for row, p in enumerate(chosen)]
    assert captions(scenes, phrasing=chosen) == captions(scenes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_template_sentences_hold_all_words_but_nouns(language: str) -> None:
    known = set(re.findall(r"[\w\-]+", " ".join(template_sentences(language, "NOUN")).replace("NOUNs", "NOUN")))
    scenes = sample_scenes(MIXED, "train", 0, np.arange(200))
    table = load_emoji()
    nouns = set(re.findall(r"[\w\-]+", " ".join(table.names(language))))
    nouns |= {table.plural(i) for i in range(len(table.nouns))}
    if language == "ko":  # particles are glued to nouns
        known |= set(KOREAN["adnominal"].values())
        said = {w for text in captions(scenes, "ko") for w in re.findall(r"\w+", text)}
        loose = {w for w in said - known if not any(w.startswith(noun) for noun in nouns)}
        assert not {w for w in loose if not any(w[:-n] in known for n in (1, 2))}
        return
    said = {w for text in captions(scenes, language) for w in re.findall(r"[\w\-]+", text)}
    assert said - known <= nouns


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"language": "xx"}, "unknown language 'xx'"),
        ({"phrasing": 4}, "use 0 to 3"),
        ({"phrasing": -1}, "use 0 to 3"),
        ({"phrasing": [0, 1, 2]}, "give one integer"),
        ({"phrasing": 0.5}, "give one integer"),
    ],
)
def test_bad_arguments(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        captions(sample_scenes(SceneSpec(), "train", 0, [0, 1]), **arguments)


def test_cells_on_a_diagonal_have_no_relation() -> None:
    for pair in ((0, 3), (1, 2), (2, 2)):
        with pytest.raises(ValueError, match="no row or column"):
            relation_of(*pair)

"""Pictures made while the site is built: every view of the emoji world for the book's data page, and the weeks' models.

Views are functions that return cards, most of them a picture with what is said about it. The scenes are the data's own,
drawn with its seeds; only their size is larger than what models see.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from coursekit.schema import Course
from tinyvlm.data.captions import captions
from tinyvlm.data.changes import CHANGES, LABELS, change_scenes, changed_captions
from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.episodes import Episodes
from tinyvlm.data.noise import NOISES, Noise, NoisyWorld
from tinyvlm.data.questions import KINDS, answer_vocabulary, questions
from tinyvlm.data.regions import boxes, instance_masks, referring_expressions
from tinyvlm.data.render import render
from tinyvlm.data.scenes import SPLITS, Scenes, SceneSpec, sample_scenes
from tinyvlm.data.sentences import PHRASINGS
from tinyvlm.data.single import Singles
from tinyvlm.data.statements import ENTAILMENT, VERDICTS, compare, entail, verify
from tinyvlm.data.text_only import TEXTS, sentences
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.words import LANGUAGES

SIDE = 192  # pixels; models see 48
RICH = SceneSpec(objects=(2, 4), plates=6, backgrounds=4)
PAIRS = SceneSpec(objects=(2, 2), plates=4, backgrounds=2)
LANGUAGE_NAMES = {
    "en": "English",
    "ko": "Korean",
    "ja": "Japanese",
    "zh": "Chinese",
    "es": "Spanish",
    "fr": "French",
    "de": "German",
    "ru": "Russian",
    "ar": "Arabic",
    "hi": "Hindi",
    "vi": "Vietnamese",
    "id": "Indonesian",
}


class Line(NamedTuple):
    """A line of text under a picture; `kind` is a class of the style sheet: true-caption, false-caption or plain."""

    text: str
    kind: str = "plain"
    lang: str = "en"


@dataclass(frozen=True)
class Card:
    """A picture (uint8 [H,W,3], or None for text alone), its alt text, and the lines under it."""

    picture: NDArray[np.uint8] | None
    alt: str
    lines: tuple[Line, ...]
    label: str = ""


def picture(image: Tensor) -> NDArray[np.uint8]:
    """uint8 [3,H,W] as [H,W,3]."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def encoded(image: NDArray[np.uint8]) -> bytes:
    """A picture as lossless WebP: about a third of the PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, method=6)
    return buffer.getvalue()


def _scenes(n: int, spec: SceneSpec = RICH, split: str = "train", start: int = 0) -> Scenes:
    return sample_scenes(spec, split, 0, np.arange(start, start + n))


def _admitting(change: str, spec: SceneSpec) -> Scenes:
    """The first scene of the stream in which `change` is possible."""
    scenes = _scenes(256, spec)
    return scenes[np.flatnonzero(change_scenes(scenes, change)[1])[:1]]


def single() -> list[Card]:
    """One emoji a picture, augmented."""
    view = Singles(size=SIDE)
    batch = view.batch(np.arange(8))
    names = [view.label_names[i] for i in batch["label"].tolist()]
    groups = [view.group_names[i] for i in batch["group"].tolist()]
    return [
        Card(picture(image), f"The emoji {name} on a pale background", (Line(name), Line(f"group: {group}")))
        for image, name, group in zip(batch["image"], names, groups, strict=True)
    ]


def scene() -> list[Card]:
    """Scenes of several specs, each with its caption."""
    specs = {
        "one to four objects": SceneSpec(objects=(3, 4)),
        "more plates and backgrounds": SceneSpec(objects=(4, 4), plates=8, backgrounds=8),
        "copies of one kind": SceneSpec(repeats=1.0),
        "a relation": SceneSpec(relations=1.0),
        "two sizes": SceneSpec(objects=(3, 4), sizes=True),
        "shifted sprites": SceneSpec(objects=(3, 4), jitter=3),
    }
    cards = []
    for place, (label, spec) in enumerate(specs.items()):
        scenes = _scenes(1, spec, start=place)
        said = captions(scenes)[0]
        cards.append(Card(picture(render(scenes, SIDE)[0]), said, (Line(said, "true-caption"),), label))
    return cards


def phrasings() -> list[Card]:
    """One scene in every English and Korean phrasing."""
    scenes = _scenes(1, SceneSpec(objects=(3, 3)), start=3)
    lines = [
        Line(captions(scenes, language, phrasing)[0], "plain", language)
        for language in ("en", "ko")
        for phrasing in range(PHRASINGS)
    ]
    return [Card(picture(render(scenes, SIDE)[0]), captions(scenes)[0], tuple(lines))]


def languages() -> list[Card]:
    """One scene in all languages."""
    scenes = _scenes(1, PAIRS, start=5)
    lines = [Line(captions(scenes, language, 0)[0], "plain", language) for language in LANGUAGES]
    return [Card(picture(render(scenes, SIDE)[0]), captions(scenes, "en", 0)[0], tuple(lines))]


def changes() -> list[Card]:
    """For every single change: the picture, the true caption and the changed one."""
    cards = []
    for change in CHANGES:
        scenes = _admitting(change, SceneSpec(relations=1.0) if change == "relation" else PAIRS)
        said, changed = captions(scenes)[0], changed_captions(scenes, change)[0][0]
        lines = (Line(said, "true-caption"), Line(changed, "false-caption"))
        cards.append(Card(picture(render(scenes, SIDE)[0]), said, lines, LABELS[change]))
    return cards


def question() -> list[Card]:
    """One scene for every kind of question."""
    cards = []
    for place, kind in enumerate(KINDS):
        scenes = _scenes(1, start=place + 20)
        asked = questions(scenes, kind)[0]
        lines = (Line(asked.text), Line(asked.answer, "answer"))
        cards.append(Card(picture(render(scenes, SIDE)[0]), captions(scenes)[0], lines, asked.kind))
    return cards


def statement() -> list[Card]:
    """Statements about one picture, hypotheses about one picture, and statements about two."""
    cards = []
    scenes = _scenes(64, start=40)
    for label, made, words in (("true or false", verify(scenes), VERDICTS), ("entailment", entail(scenes), ENTAILMENT)):
        for value, word in enumerate(words):
            row = next(i for i, one in enumerate(made) if one.label == value)
            lines = (Line(made[row].text), Line(word, "answer"))
            cards.append(Card(picture(render(scenes[[row]], SIDE)[0]), captions(scenes[[row]])[0], lines, label))
    left, right = scenes[:32], scenes[32:]
    for value, word in enumerate(VERDICTS):
        made = compare(left, right)
        row = next(i for i, one in enumerate(made) if one.label == value)
        both = [picture(render(side[[row]], SIDE)[0]) for side in (left, right)]
        gap = np.full((SIDE, SIDE // 16, 3), 255, np.uint8)
        alt = f"Left: {captions(left[[row]])[0]}. Right: {captions(right[[row]])[0]}"
        lines = (Line(made[row].text), Line(word, "answer"))
        cards.append(Card(np.concatenate([both[0], gap, both[1]], 1), alt, lines, "two pictures"))
    return cards


def region() -> list[Card]:
    """Exact boxes, exact masks, and words that point at one object."""
    scenes = _scenes(1, SceneSpec(objects=(4, 4)), start=8)
    image, said = picture(render(scenes, SIDE)[0]), captions(scenes)[0]
    boxed = image.copy()
    for left, top, right, bottom in boxes(scenes, SIDE)[0].tolist():
        for edge in (
            np.s_[top:bottom, left : left + 2],
            np.s_[top:bottom, right - 2 : right],
            np.s_[top : top + 2, left:right],
            np.s_[bottom - 2 : bottom, left:right],
        ):
            boxed[edge] = (200, 30, 90)
    masks = instance_masks(scenes, SIDE)[0].numpy()
    colours = np.array([(230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167)], np.uint8)
    masked = np.full_like(image, 245)
    for mask, colour in zip(masks, colours, strict=True):
        masked[mask] = colour
    pointing = tuple(Line(f"{words} ({form})") for _, form, words in referring_expressions(scenes)[0][:6])
    return [
        Card(boxed, f"The same scene with a box around each object: {said}", (Line("boxes"),)),
        Card(masked, f"The outlines of the four objects, each in its own colour: {said}", (Line("masks"),)),
        Card(image, said, pointing, "referring expressions"),
    ]


def noisy() -> list[Card]:
    """A caption of every kind of noise."""
    world = NoisyWorld(spec=RICH, noise=Noise(swapped=0.3, truncated=0.2, keywords=0.2), size=SIDE)
    index = np.arange(64)
    kinds, lines, clean = world.batch(index)["noise"].tolist(), world.captions(index), captions(world.scenes(index))
    cards = []
    for value, name in enumerate(NOISES):
        row = max((i for i, kind in enumerate(kinds) if kind == value), key=lambda i: len(lines[i]))
        kind = "true-caption" if name == "clean" else "false-caption" if name == "swapped" else "plain"
        cards.append(Card(picture(render(world.scenes([row]), SIDE)[0]), clean[row], (Line(lines[row], kind),), name))
    return cards


def text() -> list[Card]:
    """A text of every kind, without a picture."""
    cards = []
    for place, kind in enumerate(TEXTS):
        line = sentences(RICH, 0, np.array([place + 7]), (kind,))[0]
        cards.append(Card(None, "", (Line(line),), kind))
    return cards


def episode() -> list[Card]:
    """One few-shot episode: its pictures in a row, and its text with the query's name."""
    view = Episodes(shots=2, size=96)
    batch, told = view.batch(np.array([3])), view.texts(np.array([3]))[0]
    row = np.concatenate([picture(image) for image in batch["image"][0]], 1)
    nouns = load_emoji().names("en")
    dealt, _, order = view.deal(np.array([3]))
    shown = ", ".join(nouns[dealt[0, place]] for place in order[0])
    return [Card(row, f"Pictures of one episode, from left to right: {shown}", (Line(told),))]


def split() -> list[Card]:
    """A scene of every split."""
    meaning = {
        "train": "seen nouns",
        "val": "seen nouns, scenes whose content is not in train",
        "compositional": "seen nouns, in pairs that never stand together in train or val",
        "novel": "nouns that no other split shows",
    }
    cards = []
    for name in SPLITS:
        scenes = _scenes(1, PAIRS, name, 2)
        said = captions(scenes)[0]
        cards.append(Card(picture(render(scenes, SIDE)[0]), said, (Line(meaning[name]), Line(said)), name))
    return cards


def binding() -> list[Card]:
    """One picture and the two captions between which a model has to choose: the course's recurring question."""
    scenes = _admitting("objects swapped", PAIRS)
    said, changed = captions(scenes)[0], changed_captions(scenes, "objects swapped")[0][0]
    lines = (Line(said, "true-caption"), Line(changed, "false-caption"))
    return [Card(picture(render(scenes, SIDE)[0]), said, lines)]


def thumbnails(course: Course) -> dict[int, str]:
    """The model of each chapter as a small SVG, what is new since the last chapter's model in the accent, by week.

    A model belongs to the week whose paper it names; weeks without one have no thumbnail.
    """
    from tinyvlm import models, viz
    from tinyvlm.models.base import PaperModel

    known = {
        model.CARD.arxiv: model.blueprint("micro")
        for model in vars(models).values()
        if isinstance(model, type) and issubclass(model, PaperModel)
    }
    drawn: dict[int, str] = {}
    last = None
    for week in course.weeks:
        if week.notebook and week.paper and week.paper.arxiv in known:
            spec = known[week.paper.arxiv]
            drawn[week.week] = viz.blueprint(spec, since=last, small=True).svg
            last = spec
    return drawn


def facts() -> dict[str, int]:
    """Sizes of the world, counted from the data."""
    table = load_emoji()
    return {
        "emoji": len(table.emoji),
        "nouns": len(table.nouns),
        "seen": len(table.seen),
        "novel": len(table.novel),
        "languages": len(LANGUAGES),
        "tokens": load_tokenizer().vocab_size,
        "answers": len(answer_vocabulary()),
    }


VIEWS: dict[str, Callable[[], list[Card]]] = {
    "single": single,
    "scene": scene,
    "phrasings": phrasings,
    "languages": languages,
    "changes": changes,
    "question": question,
    "statement": statement,
    "region": region,
    "noisy": noisy,
    "text": text,
    "episode": episode,
    "split": split,
    "binding": binding,
}

"""Text without pictures, for language models: captions, questions with answers, statements and groups of nouns.

Everything is a pure function of (seed, index), like a scene. The captions are of `train` scenes, so that a language
model meets no pair of nouns and no novel noun that the other splits keep for testing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from tinyvlm.data.captions import captions
from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.hashing import below, bits
from tinyvlm.data.questions import questions
from tinyvlm.data.scenes import SceneSpec, sample_scenes
from tinyvlm.data.statements import VERDICTS, verify
from tinyvlm.data.views import Batch, View, as_indices, encode

TEXTS: tuple[str, ...] = ("caption", "question", "statement", "group")
# Unicode's subgroups that a plain plural names, and their nouns of which that plural would be false.
GROUPS: dict[str, str] = {
    "animal-mammal": "mammals",
    "animal-bird": "birds",
    "animal-bug": "bugs",
    "animal-reptile": "reptiles",
    "plant-flower": "flowers",
    "plant-other": "plants",
    "food-fruit": "fruits",
    "food-vegetable": "vegetables",
    "food-prepared": "dishes",
    "food-sweet": "sweets",
    "drink": "drinks",
    "clothing": "clothes",
    "tool": "tools",
    "musical-instrument": "instruments",
    "transport-ground": "vehicles",
    "transport-air": "aircraft",
    "transport-water": "boats",
    "place-building": "buildings",
}
_NOT_OF_GROUP = frozenset(
    "feather cobweb mushroom nest skillet bowl bread popcorn meat bacon ice teapot heel glasses ring crown handbag "
    "purse diamond lipstick dagger magnet shield bow gear hook barrel wheel rollerskate seat ufo satellite parachute "
    "lifebuoy anchor brick rock log".split()
)


def sentences(spec: SceneSpec, seed: int, indices: ArrayLike, kinds: tuple[str, ...] = TEXTS) -> list[str]:
    """One text for each of `indices` (int [B]), of a kind drawn evenly from `kinds`.

    caption: a scene's caption. question: caption, question and answer. statement: caption, statement and "true" or
    "false". group: "the dog is one of the mammals". Raises ValueError for an unknown kind.
    """
    unknown = [kind for kind in kinds if kind not in TEXTS]
    if unknown or not kinds:
        raise ValueError(f"unknown kinds of text {unknown or kinds}: choose some of {', '.join(TEXTS)}")
    scenes = sample_scenes(spec, "train", seed, as_indices(indices))
    said = captions(scenes)
    asked, judged, groups = questions(scenes), verify(scenes), _group_sentences()
    drawn = below(bits(scenes.key, "text kind"), len(kinds))
    group = below(bits(scenes.key, "text group"), len(groups))
    lines = []
    for row, choice in enumerate(drawn):
        kind = kinds[choice]
        if kind == "caption":
            lines.append(said[row])
        elif kind == "question":
            lines.append(f"{said[row]}. {asked[row].text} {asked[row].answer}")
        elif kind == "statement":
            lines.append(f"{said[row]}. {judged[row].text}? {VERDICTS[judged[row].label]}")
        else:
            lines.append(groups[group[row]])
    return lines


def _group_sentences() -> list[str]:
    table = load_emoji()
    grouped = ((table.names("en")[i], GROUPS.get(table.nouns[i].subgroup)) for i in table.seen)
    return [f"the {noun} is one of the {group}" for noun, group in grouped if group and noun not in _NOT_OF_GROUP]


class TextOnly(View):
    """Texts without pictures. Takes the spec of the scenes, a seed, a context in tokens and the kinds of text."""

    def __init__(
        self,
        seed: int = 0,
        spec: SceneSpec = SceneSpec(),  # noqa: B008 (frozen)
        context: int = 64,
        kinds: tuple[str, ...] = TEXTS,
    ) -> None:
        sentences(spec, seed, np.zeros(1, np.int64), kinds)
        self.seed, self.spec, self.context, self.kinds = seed, spec, context, kinds

    def batch(self, indices: ArrayLike) -> Batch:
        """text int64 [B,context]; text_mask bool [B,context]; index int64 [B]. ValueError: context too small."""
        index = as_indices(indices)
        text, mask = encode(sentences(self.spec, self.seed, index, self.kinds), self.context)
        return {"text": text, "text_mask": mask, "index": torch.from_numpy(index)}


def template_sentences(language: str = "en", noun: str = "object") -> list[str]:
    """Sentences with every word that is in no other view's templates. English only: empty for other languages."""
    return [f"the {noun} is one of the {group}" for group in GROUPS.values()] + [*VERDICTS] if language == "en" else []

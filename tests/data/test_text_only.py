import numpy as np
import pytest
import torch

from tinyvlm.data.captions import captions
from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.questions import questions
from tinyvlm.data.scenes import SceneSpec, sample_scenes
from tinyvlm.data.statements import verify
from tinyvlm.data.text_only import GROUPS, TEXTS, TextOnly, sentences
from tinyvlm.data.tokenizer import load_tokenizer

SPEC = SceneSpec(repeats=0.2, relations=0.2)


def test_texts_say_what_the_views_say() -> None:
    scenes = sample_scenes(SPEC, "train", 0, np.arange(200))
    said = captions(scenes)
    assert sentences(SPEC, 0, range(200), ("caption",)) == said
    for row, text in enumerate(sentences(SPEC, 0, range(200), ("question",))):
        question = questions(scenes)[row] if row < 20 else None
        assert text.startswith(said[row] + ". ")
        assert question is None or text == f"{said[row]}. {question.text} {question.answer}"
    made = verify(scenes)
    for row, text in enumerate(sentences(SPEC, 0, range(200), ("statement",))):
        assert text == f"{said[row]}. {made[row].text}? {('false', 'true')[made[row].label]}"


def test_kinds_are_even_and_batches_whole() -> None:
    view = TextOnly(spec=SPEC)
    batch, tokens = view.batch(range(300)), load_tokenizer()
    texts = sentences(SPEC, 0, range(300))
    assert [tokens.decode(row) for row in batch["text"]] == texts
    assert torch.equal(view.batch([5, 200])["text"], batch["text"][[5, 200]])
    singles = {kind: sentences(SPEC, 0, range(300), (kind,)) for kind in TEXTS}
    for kind in TEXTS:
        count = sum(text == line for text, line in zip(texts, singles[kind], strict=True))
        assert count > 300 / len(TEXTS) / 2, kind


def test_groups_are_those_of_the_emoji_and_spare_novel_nouns() -> None:
    table = load_emoji()
    by_noun = {emoji.noun: (i, GROUPS.get(emoji.subgroup)) for i, emoji in enumerate(table.nouns)}
    texts = set(sentences(SPEC, 0, range(2000), ("group",)))
    assert len(texts) > 120
    assert "the dog is one of the mammals" in texts and "the cobweb is one of the bugs" not in texts
    for text in texts:
        noun, group = text.removeprefix("the ").split(" is one of the ")
        assert by_noun[noun][1] == group and by_noun[noun][0] in table.seen


def test_unknown_kinds_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"unknown kinds of text \['poem'\]"):
        TextOnly(kinds=("caption", "poem"))
    with pytest.raises(ValueError, match="unknown kinds of text"):
        TextOnly(kinds=())

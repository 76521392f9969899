"""Trains the course's tokenizer. Deterministic: the committed corpus gives the same file every time.

Two steps, so that a new sentence in a later chapter cannot change the vocabulary by accident, which would void every
checkpoint: `collect` counts the pieces of the world's words and sentences into `tokenizer_corpus.json`, and `train`
reads nothing but that file.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tinyvlm.data import captions, episodes, questions, regions, statements, text_only
from tinyvlm.data.emoji import EmojiTable, load_emoji
from tinyvlm.data.tokenizer import RESERVED, VOCABULARY
from tinyvlm.data.words import LANGUAGES, WORDS

CORPUS = Path(__file__).with_name("tokenizer_corpus.json")
# A piece is a word or one sign, with the space before it. No piece reaches across a space, on which
# `CourseTokenizer.ids` relies.
PIECES = r" ?[\p{L}\p{M}\p{N}]+| ?[^\s\p{L}\p{M}\p{N}]|\s"
# How often a noun is shown. Korean comes first after English, because it too makes full sentences; there a noun has
# particles behind it, so that it must be learnt by merges and cannot simply be added whole.
NOUN_WEIGHT = {"ko": 1000}
OTHER_NOUN_WEIGHT = 24
RAREST = 3  # pieces seen less often than this teach no merge worth an entry
EXTRA_ENGLISH = (  # words that later views and interleaved episodes use beside the templates
    "a an the is are was not in of to from with at on over under between and or but it this that there here no yes "
    "what where how many which who whose color colour side same different more less fewer than true false maybe "
    "answer question picture image photo drawing object objects thing things nothing empty place "
    "zero one two three four five six seven eight nine ten 0 1 2 3 4 5 6 7 8 9 ? . , : ; ! - — ' \" ( ) /"
)


def _templates(table: EmojiTable) -> dict[str, list[str]]:
    """Sentences of every view by language: captions in twelve, with nouns along the list; the others in English."""
    texts = {"en": captions.template_sentences("en")}  # its nouns are entries anyway
    for view in (questions, statements, regions, episodes, text_only):
        texts["en"] += view.template_sentences()
    for language in LANGUAGES[1:]:
        some = table.names(language)[:: 9 if language == "ko" else 40]
        texts[language] = [text for noun in some for text in captions.template_sentences(language, noun)]
    return texts


def _texts(table: EmojiTable, templates: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    """The training text: a line and how often it is shown."""
    for language in LANGUAGES:
        weight = NOUN_WEIGHT.get(language, OTHER_NOUN_WEIGHT)
        yield from ((words[language], weight) for words in WORDS.values())
        yield from ((name, weight) for name in table.names(language))
        yield from ((" ".join(one.keywords[language]), 1) for one in table.nouns)
        yield from ((one.names[language], 1) for one in table.emoji)
        yield from ((text, 1) for text in templates[language])


def collect(path: Path = CORPUS) -> None:
    """Write the corpus file anew from the emoji table and all views' sentences.

    `whole`: every English word or sign that must be one token (nouns, plurals, template words); `spare`: English words
    that fill what the merges leave; `pieces`: how often each other piece is seen.
    """
    table = load_emoji()
    templates = _templates(table)
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    words = [*table.names("en"), *(table.plural(i) for i in range(len(table.nouns)))]
    words += [part for term in WORDS for part in term.split()] + EXTRA_ENGLISH.split()
    words += [piece.strip() for text in templates["en"] for piece, _ in split.pre_tokenize_str(" " + text)]
    whole = list(dict.fromkeys(word for word in words if word))
    spare = [word for one in table.emoji for word in one.names["en"].split()]
    counts: Counter[str] = Counter()
    for text, weight in _texts(table, templates):
        for piece, _ in split.pre_tokenize_str(" " + unicodedata.normalize("NFC", text)):
            counts[piece] += weight
    for word in whole:  # counting these would spend merges on their parts
        counts.pop(" " + word, None)
    kept = {piece: count for piece, count in sorted(counts.items()) if count >= RAREST}
    lines = ",\n".join(f"  {json.dumps(piece, ensure_ascii=False)}: {count}" for piece, count in kept.items())
    path.write_text(
        f'{{\n "whole": {json.dumps(" ".join(whole), ensure_ascii=False)},\n'
        f' "spare": {json.dumps(" ".join(dict.fromkeys(spare)), ensure_ascii=False)},\n'
        f' "pieces": {{\n{lines}\n }}\n}}\n',
        encoding="utf-8",
    )
    print(f"  corpus: {len(whole)} English words, {len(kept):,} other pieces", flush=True)


def train(path: Path = CORPUS) -> str:
    """The tokenizer as JSON text.

    First merges are learnt, on pieces; then each English word that is not yet an entry becomes one. `ignore_merges`
    makes an entry be taken whole whatever the merges say, so that such a word needs no merges of its own.
    """
    corpus = json.loads(path.read_text(encoding="utf-8"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def to_bytes(text: str) -> str:
        return byte_level.pre_tokenize_str(text)[0][0]

    whole = [to_bytes(" " + word) for word in corpus["whole"].split()]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split("\n", "removed")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(RESERVED) - len(whole),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(
        ("\n".join([to_bytes(piece)] * count) for piece, count in corpus["pieces"].items()), trainer
    )
    learnt = json.loads(learner.to_str())["model"]
    # Some words are learnt as merges all the same, and what they leave free goes to further English words.
    spare = [to_bytes(" " + word) for word in corpus["spare"].split()]
    ordered = [*RESERVED, *sorted(learnt["vocab"], key=learnt["vocab"].__getitem__), *whole, *spare]
    entries = list(dict.fromkeys(ordered))[:VOCABULARY]
    vocab = {entry: number for number, entry in enumerate(entries)}
    merges = [tuple(merge) for merge in learnt["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PIECES), "isolated"), byte_level])
    tokenizer.add_special_tokens(list(RESERVED))
    tokenizer.decoder = decoders.ByteLevel()
    print(f"  {len(entries):,} entries: {len(RESERVED)} reserved, {len(whole)} English words, {len(merges):,} merges")
    return tokenizer.to_str(pretty=False)

"""Trains the course's tokenizer on the world's own words and sentences. Deterministic: the same file every time."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tinyvlm.data.emoji import EmojiTable, load_emoji
from tinyvlm.data.tokenizer import RESERVED, VOCABULARY
from tinyvlm.data.words import LANGUAGES, WORDS

# A piece is a word or one sign, with the space before it. No piece reaches across a space, on which
# `CourseTokenizer.ids` relies.
PIECES = r" ?[\p{L}\p{M}\p{N}]+| ?[^\s\p{L}\p{M}\p{N}]|\s"
# How often a noun is shown. Korean comes first after English, because it too makes full sentences; there a noun has
# particles behind it, so that it must be learnt by merges and cannot simply be added whole.
NOUN_WEIGHT = {"ko": 300}
OTHER_NOUN_WEIGHT = 24
EXTRA_ENGLISH = (  # words that later views and interleaved episodes use beside the templates
    "a an the is are was not in of to from with at on over under between and or but it this that there here no yes "
    "what where how many which who whose color colour side same different more less fewer than true false maybe "
    "answer question picture image photo drawing object objects thing things nothing empty place "
    "zero one two three four five six seven eight nine ten 0 1 2 3 4 5 6 7 8 9 ? . , : ; ! - — ' \" ( ) /"
)


def _template_texts(table: EmojiTable) -> dict[str, list[str]]:
    """Sentences of every view by language, each module asked for its own; nouns vary along the list."""
    from tinyvlm.data import captions

    modules = [captions]
    for name in ("questions", "statements", "episodes", "regions", "text_only", "noise"):
        try:
            modules.append(__import__(f"tinyvlm.data.{name}", fromlist=["_"]))
        except ModuleNotFoundError as error:
            if error.name != f"tinyvlm.data.{name}":
                raise
    texts: dict[str, list[str]] = {}
    for language in LANGUAGES:
        nouns = table.names(language)
        for number, module in enumerate(modules):
            make = getattr(module, "template_sentences", None)
            if make is not None:
                some = nouns[number::9] if language in ("en", "ko") else nouns[number::40]
                texts.setdefault(language, []).extend(text for noun in some for text in make(language, noun))
    return texts


def english_words(table: EmojiTable, texts: list[str]) -> list[str]:
    """Every English word or sign that must be one token: nouns, plurals, template words. In a fixed order."""
    pieces = pre_tokenizers.Split(Regex(PIECES), "isolated")
    whole = [*table.names("en"), *(table.plural(i) for i in range(len(table.nouns)))]
    whole += [part for term in WORDS for part in term.split()] + EXTRA_ENGLISH.split()
    whole += [piece.strip() for text in texts for piece, _ in pieces.pre_tokenize_str(" " + text)]
    return list(dict.fromkeys(word for word in whole if word))


def corpus(table: EmojiTable, templates: dict[str, list[str]]) -> Iterator[str]:
    """The training text, weighted by repetition."""
    for language in LANGUAGES:
        for word in [words[language] for words in WORDS.values()]:
            yield from [" " + word] * NOUN_WEIGHT.get(language, OTHER_NOUN_WEIGHT)
        for word in table.names(language):
            yield from [" " + word] * NOUN_WEIGHT.get(language, OTHER_NOUN_WEIGHT)
        for one in table.nouns:
            yield " " + " ".join(one.keywords[language])
        for one in table.emoji:
            yield " " + one.names[language]
        for text in templates[language]:
            yield " " + text


def train(folder: Path) -> str:
    """The tokenizer as JSON text, trained on the emoji table in `folder` and on the world's sentences.

    First merges are learnt, on pieces; then each English word that is not yet an entry becomes one. `ignore_merges`
    makes an entry be taken whole whatever the merges say, so that such a word needs no merges of its own.
    """
    load_emoji.cache_clear()
    table = load_emoji(folder)
    templates = _template_texts(table)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def to_bytes(word: str) -> str:
        return byte_level.pre_tokenize_str(unicodedata.normalize("NFC", word))[0][0]

    whole = [to_bytes(" " + word) for word in english_words(table, templates["en"])]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PIECES), "isolated"), byte_level])
    english = set(whole)
    text = [line for line in corpus(table, templates)]
    # English words have their entries already; counting them would spend merges on their parts.
    counts = Counter(
        piece
        for line in text
        for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(unicodedata.normalize("NFC", line))
    )
    merges_for = VOCABULARY - len(RESERVED) - len(whole)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split("\n", "removed")
    trainer = trainers.BpeTrainer(
        vocab_size=merges_for, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    learner.train_from_iterator(
        ("\n".join([piece] * count) for piece, count in sorted(counts.items()) if piece not in english), trainer
    )
    learnt = json.loads(learner.to_str())["model"]
    entries = [*RESERVED, *sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)]
    entries += [word for word in whole if word not in set(entries)]
    # Some words were learnt as merges all the same: unused entries fill up with further English names.
    spare = (to_bytes(" " + word) for one in table.emoji for word in one.names["en"].split())
    for word in dict.fromkeys(spare):
        if len(entries) == VOCABULARY:
            break
        if word not in set(entries):
            entries.append(word)
    vocab = {entry: number for number, entry in enumerate(entries)}
    merges = [tuple(merge) for merge in learnt["merges"]]
    tokenizer.model = models.BPE(vocab=vocab, merges=merges, ignore_merges=True)
    tokenizer.add_special_tokens(list(RESERVED))
    tokenizer.decoder = decoders.ByteLevel()
    print(f"  {len(entries):,} entries: {len(RESERVED)} reserved, {len(whole)} English words, {len(merges):,} merges")
    return tokenizer.to_str(pretty=False)

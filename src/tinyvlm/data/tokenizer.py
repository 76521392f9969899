"""The course's one tokenizer: byte-level BPE of 4,096 entries over the words of the emoji world.

Every English noun, plural and template word is one token (a word of the vocabulary is taken whole, before any merge),
any other text falls apart into merges and at last into bytes, so that decoding gives every text back, composed (NFC).
Ids of reserved tokens are fixed: later chapters use tokens that the first one does not, and a change would void every
checkpoint.

A word carries the space before it, and a text starts with one: "dog" is the same token everywhere.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tinyvlm.data.checksums import ASSETS, read_asset
from tinyvlm.data.words import LANGUAGES

VOCABULARY = 4096
SPANS = 32  # sentinels of span corruption (T5)
LOCATIONS = 64  # bins of a coordinate, for boxes written as tokens
TASKS = (
    "caption",
    "vqa",
    "ocr",
    "detect",
    "ground",
    "segment",
    "classify",
    "match",
    "entail",
    "retrieve",
    "mlm",
    "lm",
)
UNUSED = 16  # for what no chapter has asked for yet

RESERVED: tuple[str, ...] = (
    "[PAD]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[BOS]",
    "[EOS]",
    "<image>",
    "<EOC>",
    *(f"<span_{i}>" for i in range(SPANS)),
    *(f"<lang_{language}>" for language in LANGUAGES),
    *(f"<task_{task}>" for task in TASKS),
    *(f"<loc_{i}>" for i in range(LOCATIONS)),
    *(f"<unused_{i}>" for i in range(UNUSED)),
)
CONTROL = 6  # the first six never stand for text: decode leaves them out
_WORDS_KEPT = 200_000  # words whose ids are remembered; texts of a world repeat a few hundred


class CourseTokenizer:
    """Texts to ids and back. Made by `load_tokenizer`.

    `pad`, `cls`, `sep`, `mask`, `bos`, `eos`, `image` and `eoc` are ids; `backend` is the `tokenizers.Tokenizer`.
    """

    def __init__(self, backend: Tokenizer) -> None:
        for expected, token in enumerate(RESERVED):
            if backend.token_to_id(token) != expected:
                raise ValueError(
                    f"the tokenizer has {token} at id {backend.token_to_id(token)}, not {expected}: it is not the "
                    "course's; use `load_tokenizer()`"
                )
        self.backend = backend
        self.vocab_size: int = backend.get_vocab_size()
        self.pad, self.cls, self.sep, self.mask, self.bos, self.eos, self.image, self.eoc = range(8)
        self._words: dict[str, tuple[int, ...]] = {}

    def id(self, token: str) -> int:
        """Id of a reserved token ("<image>", "<loc_3>", "[MASK]", or "MASK" for short) or of a word ("dog").

        Raises ValueError for what is not one token.
        """
        for form in (token, f"[{token}]"):
            if form in RESERVED:
                return RESERVED.index(form)
        ids = self.ids(token)
        if len(ids) != 1:
            raise ValueError(f"{token!r} is not one token: it takes {len(ids)}; use `ids` for a text")
        return ids[0]

    def ids(self, text: str) -> list[int]:
        """Ids of one text, without BOS and EOS. ValueError for what is no string, or holds half a character."""
        if not isinstance(text, str):
            raise ValueError(f"{text!r} is no text: write it as a string")
        known = self._words
        out: list[int] = []
        for word in text.split(" ") if text else ():
            if word not in known:
                known[word] = self._encode_word(word)
            out += known[word]
        return out

    def _encode_word(self, word: str) -> tuple[int, ...]:
        # Splitting at spaces is exact: no token reaches across one, as the pre-tokenizer starts a piece at each.
        if len(self._words) >= _WORDS_KEPT:
            self._words.clear()
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise ValueError(
                f"the text has half a character in {word[:60]!r} (a lone surrogate), which no encoding holds: read it "
                'with errors="replace"'
            )
        space = "" if word.startswith(RESERVED) else " "  # a space of its own before <image> would be a token
        return tuple(self.backend.encode(space + word, add_special_tokens=False).ids)

    def encode(self, texts: Sequence[str], length: int, truncate: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Texts as rows "BOS text EOS PAD …".

        Returns ids int64 [B,length] and mask bool [B,length], True for every token but PAD. Raises ValueError,
        naming the text, for one that `ids` refuses and one of more than length - 2 tokens; with `truncate` that is cut
        and keeps its EOS.
        """
        if isinstance(texts, str):
            raise ValueError("encode takes a list of texts, and got one string: put it in a list")
        if not isinstance(length, int) or length < 2:
            raise ValueError(f"a length of {length} leaves no room for BOS and EOS: use a whole number, at least 3")
        rows = []
        sizes = []
        for number, text in enumerate(texts):
            try:
                row = [self.bos, *self.ids(text), self.eos]
            except ValueError as error:
                raise ValueError(f"text {number}: {error}") from error
            if len(row) > length:
                if not truncate:
                    raise ValueError(
                        f"text {number} takes {len(row)} tokens with BOS and EOS, more than the {length} allowed: "
                        f"shorten it, raise the length, or pass truncate=True ({text[:60]!r})"
                    )
                row = [*row[: length - 1], self.eos]
            sizes.append(len(row))
            rows.append(row + [self.pad] * (length - len(row)))
        ids = torch.tensor(rows, dtype=torch.int64).reshape(len(rows), length)
        mask = torch.arange(length) < torch.tensor(sizes, dtype=torch.int64).reshape(-1, 1)
        return ids, mask

    def decode(self, ids: torch.Tensor | Iterable[int]) -> str:
        """The text of one row of ids, without PAD, CLS, SEP, MASK, BOS and EOS.

        Other reserved tokens are written out, with a space before them whether the text had one or not.
        Raises ValueError for an id outside the vocabulary or a tensor that is not one row.
        """
        if isinstance(ids, torch.Tensor):
            if ids.dim() != 1:
                raise ValueError(f"decode takes one row of ids, and got shape {tuple(ids.shape)}: decode row by row")
            ids = ids.tolist()
        try:
            row = [operator.index(i) for i in ids]
        except TypeError as error:
            raise ValueError(f"decode takes one row of whole numbers ({error}): pass ids of this tokenizer") from error
        kept = [i for i in row if i >= CONTROL or i < 0]
        wrong = [i for i in kept if not 0 <= i < self.vocab_size]
        if wrong:
            raise ValueError(f"id {wrong[0]} is outside the vocabulary: ids run from 0 to {self.vocab_size - 1}")
        text, run = "", []
        for i in kept:
            if i >= len(RESERVED):
                run.append(i)
                continue
            text += self.backend.decode(run, skip_special_tokens=False) + " " + RESERVED[i]
            run = []
        return (text + self.backend.decode(run, skip_special_tokens=False)).removeprefix(" ")


@lru_cache(maxsize=4)
def load_tokenizer(folder: Path = ASSETS) -> CourseTokenizer:
    """The shipped tokenizer, read once per process.

    Raises FileNotFoundError or ValueError, naming the file and the remedy, when it is missing or damaged.
    """
    return CourseTokenizer(Tokenizer.from_str(read_asset("tokenizer.json", folder).decode("utf-8")))

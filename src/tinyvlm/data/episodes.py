"""Few-shot episodes: pictures and made-up names in turn, then one more picture whose name is asked for.

    <image> dax <EOC> <image> wug <EOC> <image> dax <EOC> <image> [wug <EOC>]

Names are dealt anew in every episode, so that they can only be learnt from the episode itself. Each episode has
`ways` different emoji, `shots` pictures of each in a random order, and a query. With images=False a noun stands for
each picture: the same task for a language model alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.hashing import Bits, below, bits, scene_keys
from tinyvlm.data.single import Singles
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.views import Batch, View, as_indices, encode

# Nonsense words, as psychologists of word learning use them; each is one token.
NAMES: tuple[str, ...] = (
    "dax",
    "wug",
    "fep",
    "toma",
    "zup",
    "blick",
    "kiki",
    "bouba",
    "lorp",
    "mib",
    "nare",
    "pim",
    "quib",
    "riff",
    "sool",
    "teeb",
    "vash",
    "wib",
    "yark",
    "zeb",
    "gorp",
    "hune",
    "jick",
    "koba",
)
IMAGE, END = "<image>", "<EOC>"
EPISODE_SPLITS: tuple[str, ...] = ("train", "val", "novel")


class Episodes(View):
    """Interleaved episodes of single emoji with arbitrary names.

    split: train, val (the same emoji, other pictures) or novel (emoji of no other split). ways: different emoji, at
    least 2; shots: pictures of each before the query, from 0. names: how many of the made-up names are in use
    (None: all). images=False: text only.

    Raises ValueError for an unknown split, or more ways than there are names.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        ways: int = 2,
        shots: int = 1,
        size: int = 48,
        images: bool = True,
        names: int | None = None,
    ) -> None:
        in_use = len(NAMES) if names is None else names
        if not 2 <= ways <= in_use <= len(NAMES):
            raise ValueError(
                f"ways={ways} with {in_use} names: an episode has at least 2 ways, and there are {len(NAMES)} names; "
                "use 2 <= ways <= names"
            )
        if not 0 <= shots <= 16:
            raise ValueError(f"shots={shots}: an episode shows each emoji 0 to 16 times; choose within that")
        self.pictures = Singles(split, seed, size)
        self.split, self.seed, self.ways, self.shots, self.images = split, seed, ways, shots, images
        self.names = NAMES[:in_use]
        self.count = ways * shots + 1
        # BOS, EOS, and three tokens a picture; a noun takes "the" and itself, or a few tokens if it is rare.
        self.context = 2 + self.count * (3 if images else 8)

    def deal(self, indices: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(nouns [B, ways] as noun ids, names [B, ways] as places in `names`, order [B, pictures] as places among the
        ways; the last one is the query), all int64."""
        table = load_emoji()
        ids = np.array(table.novel if self.split == "novel" else table.seen)
        keys = scene_keys(self.seed, as_indices(indices))
        nouns = ids[_choose(len(ids), self.ways, keys, f"{self.split} episode nouns")]
        names = _choose(len(self.names), self.ways, keys, f"{self.split} episode names")
        shown = np.argsort(bits(keys, "episode order", max(1, self.count - 1)), axis=1, kind="stable") % self.ways
        query = below(bits(keys, "episode query"), self.ways)
        return nouns, names, np.concatenate([shown[:, : self.count - 1], query[:, None]], 1)

    def texts(self, indices: ArrayLike) -> list[str]:
        """The episodes as text, the query's name included."""
        nouns, names, order = self.deal(indices)
        words = load_emoji().names("en")
        lines = []
        for noun, name, ways in zip(nouns.tolist(), names.tolist(), order.tolist(), strict=True):
            shown = (IMAGE if self.images else f"the {words[noun[way]]}" for way in ways)
            pieces = (f"{one} {self.names[name[way]]} {END}" for one, way in zip(shown, ways, strict=True))
            lines.append(" ".join(pieces))
        return lines

    def batch(self, indices: ArrayLike) -> Batch:
        """image uint8 [B,M,3,S,S] and image_positions int64 [B,M], the places of the <image> tokens (neither if
        images=False), for M = ways * shots + 1; text int64, text_mask bool [B,L]; target_mask bool [B,L], True at
        every name; answer_position int64 [B], the place of the query's name, to be predicted from what stands before
        it; options int64 [B,ways], the tokens of the names; label int64 [B], the right one of these; index int64 [B].
        """
        index = as_indices(indices)
        nouns, names, order = self.deal(index)
        text, mask = encode(self.texts(index), self.context)
        tokens = load_tokenizer()
        ends = (text == tokens.eoc).nonzero()[:, 1].reshape(len(index), self.count)
        target = torch.zeros_like(mask).scatter_(1, ends - 1, True)
        name_ids = torch.tensor([tokens.id(name) for name in self.names])
        batch = {
            "text": text,
            "text_mask": mask,
            "target_mask": target,
            "answer_position": ends[:, -1] - 1,
            "options": name_ids[torch.from_numpy(names)],
            "label": torch.from_numpy(order[:, -1].copy()),
            "index": torch.from_numpy(index),
        }
        if self.images:
            shown = np.take_along_axis(nouns, order, 1)
            batch["image"] = self._show(shown, index)
            batch["image_positions"] = (text == tokens.image).nonzero()[:, 1].reshape(len(index), self.count)
        return batch

    def _show(self, nouns: NDArray[np.int64], index: NDArray[np.int64]) -> torch.Tensor:
        """A picture of each noun, all differently augmented: uint8 [B,M,3,S,S] for noun ids [B,M]."""
        pictures = (index[:, None] * 512 + np.arange(self.count)).reshape(-1)
        image = self.pictures.show(nouns.reshape(-1), pictures)
        return image.reshape(len(index), self.count, *image.shape[1:])


def _choose(n: int, k: int, keys: Bits, field: str) -> NDArray[np.int64]:
    """k different integers below n for each key, int64 [B, k]."""
    return np.argsort(bits(keys, field, n), axis=1, kind="stable")[:, :k]


def template_sentences(language: str = "en", noun: str = "object") -> list[str]:
    """Every made-up name, each as a word of a sentence. English only: empty for other languages."""
    return [f"the {noun} {name}" for name in NAMES] if language == "en" else []

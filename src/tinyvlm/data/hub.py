"""Photographs from the Hugging Face Hub in the batch type of the emoji world: CIFAR-10/100, Flickr8k, COCO, Oxford
Pets.

Optional everywhere: the chapters run on the emoji world, which is always there. `load` reads from the hub, streaming or
not, or from a local folder in the hub's format (parquet files, or an image folder with its metadata file).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyvlm.data.pictures import to_square

Batch = dict[str, Tensor]
Tokenize = Callable[[Sequence[str]], tuple[Tensor, Tensor]]

NO_LABEL = -1
_MULTIPLIER = 2654435761  # Knuth's multiplicative hash: neighbouring images take unrelated captions


@dataclass(frozen=True)
class HubSet:
    """Where a data set lives and what its columns are called; the first column present is used."""

    repository: str
    splits: Mapping[str, str]
    image: tuple[str, ...] = ("image", "img")
    label: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()


_TWO = {"train": "train", "test": "test"}
_THREE = {"train": "train", "val": "validation", "test": "test"}
_CAPTIONS = ("captions", "caption", "caption_0", "sentences", "text")
_SENTENCE = ("raw", "caption", "text")  # what copies of COCO call the text, where a caption is a record of its own

SETS: Mapping[str, HubSet] = {
    "cifar10": HubSet("uoft-cs/cifar10", _TWO, label=("label",)),
    "cifar100": HubSet("uoft-cs/cifar100", _TWO, label=("fine_label", "label")),
    "flickr8k": HubSet("jxie/flickr8k", _THREE, captions=_CAPTIONS),
    "coco": HubSet("jxie/coco_captions", _THREE, captions=_CAPTIONS),  # a row for each caption, images repeated
    "pets": HubSet("timm/oxford-iiit-pet", _TWO, label=("label",)),
}


def load(
    name: str,
    split: str = "train",
    size: int = 48,
    *,
    streaming: bool = False,
    source: str | Path | None = None,
    tokenize: Tokenize | None = None,
    context: int = 40,
    template: str = "a photo of a {}",
    seed: int = 0,
    cache: str | Path | None = None,
) -> HubImages:
    """One split of one data set, its pictures resized and cropped to `size` pixels.

    name: cifar10, cifar100, flickr8k, coco or pets. split: train, val or test, as far as the set has it.
    source: a local folder in the hub's format, instead of the hub. tokenize: texts -> (ids int64 [B, L], mask bool
    [B, L]); without it the course's tokenizer, cut at `context` tokens. template: the caption of an image that has only
    a class. seed: fixes the order of training and which of several captions is used. cache: folder for downloads.

    Raises ValueError for an unknown name, split or format, FileNotFoundError for an absent `source`,
    ModuleNotFoundError without the `datasets` package, ConnectionError without network.
    """
    if name not in SETS:
        raise ValueError(f"Unknown data set {name!r}: choose from {', '.join(SETS)}.")
    spec = SETS[name]
    if split not in spec.splits:
        raise ValueError(f"{name} has no split {split!r}: choose from {', '.join(spec.splits)}.")
    if size < 1:
        raise ValueError(f"size={size} is no picture: use at least 1 pixel.")
    if "{}" not in template:
        raise ValueError(f"template={template!r} has no place for the class: write {{}} where its name goes.")
    rows = _rows(name, spec.splits[split], streaming, source, cache)
    return HubImages(name, spec, rows, size, streaming, tokenize or _course_tokens(context), template, seed)


class HubImages:
    """Images with texts and labels, by number or in order. Made by `load`."""

    def __init__(
        self,
        name: str,
        spec: HubSet,
        rows: Any,
        size: int,
        streaming: bool,
        tokenize: Tokenize,
        template: str,
        seed: int,
    ) -> None:
        self.name, self.size, self.streaming, self.seed = name, size, streaming, seed
        self._rows, self._tokenize, self._template = rows, tokenize, template
        columns = list(rows.features or {}) or list(next(iter(rows)))
        self._image = _column(name, "image", spec.image, columns)
        self._label = _column(name, "label", spec.label, columns) if spec.label else None
        self._captions: tuple[str, ...] = ()
        if spec.captions:
            first = _column(name, "caption", spec.captions, columns)
            numbered = tuple(column for column in columns if column.startswith("caption_") and column[8:].isdigit())
            self._captions = numbered if first == "caption_0" else (first,)
        feature = (rows.features or {}).get(self._label) if self._label else None
        self.names: tuple[str, ...] = tuple(getattr(feature, "names", None) or ())
        """Class names by label, empty where the data set has captions instead."""

    def __len__(self) -> int:
        """Number of images. TypeError for a stream, which does not know it."""
        if self.streaming:
            raise TypeError(f"{self.name} is streamed and has no length: load it with streaming=False.")
        return len(self._rows)

    def captions(self, index: int) -> tuple[str, ...]:
        """Every caption of an image; for an image that has only a class, the template filled with its name.

        ValueError, naming row and column, for a label that is no class (-1, as hidden labels are written), a column
        that holds something else than texts, or no caption at all.
        """
        self._check_random_access()
        return self._texts(int(index), self._row(int(index)))

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """The images with these numbers.

        image uint8 [B, 3, size, size]; text int64 [B, L]; text_mask bool [B, L]; label int64 [B], -1 where the set has
        none; index int64 [B]. ValueError for numbers outside the set or an empty list, for a stream, and, naming the
        row, for captions as above and for a picture that is missing, damaged or of a kind that `to_square` refuses.
        """
        self._check_random_access()
        numbers = [int(index) for index in indices]
        wrong = [index for index in numbers if not 0 <= index < len(self)]
        if wrong or not numbers:
            what = f"number {wrong[0]}" if wrong else "no number at all"
            raise ValueError(f"{self.name} was asked for {what}: name images from 0 to {len(self) - 1}.")
        return self._collate(numbers, [self._row(index) for index in numbers])

    def source(self, batch_size: int) -> Callable[..., Batch]:
        """A batch source: step -> batch, a pure function of (step, rank, world), each epoch in a new order.

        Rank r of `world` gets the r-th equal slice of the global batch. ValueError for a batch size that does not fit
        the set or the number of processes, and for a stream, which can only be read in order.
        """
        self._check_random_access()
        if not 1 <= batch_size <= len(self):
            raise ValueError(f"batch_size={batch_size} for {len(self)} images: use 1 to {len(self)}.")

        @lru_cache(maxsize=2)
        def order(epoch: int) -> np.ndarray:
            return np.random.default_rng((self.seed, epoch)).permutation(len(self))

        def draw(step: int, rank: int = 0, world: int = 1) -> Batch:
            if batch_size % world:
                raise ValueError(f"batch_size={batch_size} does not divide among {world} processes: use a multiple.")
            share = batch_size // world
            # Epochs are whole batches: the few images left over at the end of one are drawn in another order next time.
            epoch, place = divmod(step, len(self) // batch_size)
            start = place * batch_size + rank * share
            return self.batch(order(epoch)[start : start + share])

        return draw

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All images once, in the order of the set; the last batch may be smaller. The way to read a stream."""
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} holds no image: use at least 1.")
        rows: list[Any] = []
        count = 0
        stream = iter(self._rows)
        while (row := self._read(count, lambda: next(stream, None))) is not None:
            rows.append(row)
            count += 1
            if len(rows) == batch_size:
                yield self._collate(list(range(count - len(rows), count)), rows)
                rows = []
        if rows:
            yield self._collate(list(range(count - len(rows), count)), rows)

    def _check_random_access(self) -> None:
        if self.streaming:
            raise ValueError(f"{self.name} is streamed, so it is read in order: use batches(), or streaming=False.")

    def _row(self, number: int) -> Any:
        return self._read(number, lambda: self._rows[number])

    def _read(self, number: int, what: Callable[[], Any]) -> Any:
        """`what()`, or ValueError with the row's number: pictures are decoded where a row is first touched."""
        try:
            return what()
        except Exception as error:  # a damaged picture can raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            told = f"Row {number} of {self.name} has a picture that cannot be read ({reason}): fetch it again, or "
            raise ValueError(told + "leave the row out.") from error

    def _collate(self, numbers: list[int], rows: list[Any]) -> Batch:
        texts, pictures = [], []
        for number, row in zip(numbers, rows, strict=True):
            several = self._texts(number, row)
            texts.append(several[((number + self.seed) * _MULTIPLIER % 2**32 >> 16) % len(several)])
            pictures.append(self._read(number, lambda row=row: to_square(row[self._image], self.size)))  # type: ignore[misc]
        ids, mask = self._tokenize(texts)
        labels = [NO_LABEL if self._label is None else int(row[self._label]) for row in rows]
        return {
            "image": torch.from_numpy(np.stack(pictures)),
            "text": ids,
            "text_mask": mask,
            "label": torch.tensor(labels, dtype=torch.int64),
            "index": torch.tensor(numbers, dtype=torch.int64),
        }

    def _texts(self, number: int, row: Any) -> tuple[str, ...]:
        texts: list[str] = []
        for column in self._captions:
            texts += self._sentences(row[column], number, column)
        if self._label is not None:
            label = row[self._label]
            if type(label) is not int or not 0 <= label < (len(self.names) or math.inf):
                told = f"Row {number} of {self.name} has {label!r} in column {self._label!r}, which is no class"
                allowed = f"0 to {len(self.names) - 1}" if self.names else "whole numbers from 0"
                raise ValueError(f"{told}: allowed are {allowed}; leave rows with hidden labels out.")
            texts.append(self._template.format((self.names[label] if self.names else str(label)).replace("_", " ")))
        if not texts:
            columns = ", ".join(self._captions)
            raise ValueError(f"Row {number} of {self.name} has no caption in {columns}: leave it out.")
        return tuple(texts)

    def _sentences(self, value: Any, number: int, column: str) -> list[str]:
        """The texts in a cell: one, several, or records of COCO with the text beside its tokens and ids."""
        if value is None or isinstance(value, str):
            return [value] if value and value.strip() else []
        if isinstance(value, list | tuple | np.ndarray):
            return [text for item in value for text in self._sentences(item, number, column)]
        if isinstance(value, Mapping):
            known = [key for key in _SENTENCE if key in value]
            if known:
                return self._sentences(value[known[0]], number, column)
        told = f"Row {number} of {self.name} has {value!r:.80} in column {column!r}, which is no caption"
        raise ValueError(f"{told}: write texts there, or records with a field {' or '.join(_SENTENCE)}.")


def _course_tokens(context: int) -> Tokenize:
    def tokens(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        from tinyvlm.data.tokenizer import load_tokenizer

        # People's captions are longer than the emoji world's: cut, as CLIP's own preprocessing does.
        return load_tokenizer().encode(texts, context, truncate=True)

    return tokens


def _rows(name: str, split: str, streaming: bool, source: str | Path | None, cache: str | Path | None) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Data sets of the hub need the package `datasets`: install it, or this package with its extra `hub`."
        ) from error
    where = SETS[name].repository
    if source is not None:
        if not Path(source).is_dir():
            raise FileNotFoundError(
                f"{source} is no folder: pass as source= one in the hub's format (parquet or images)."
            )
        where = str(Path(source).resolve())
    try:
        rows = datasets.load_dataset(
            where, split=split, streaming=streaming, cache_dir=None if cache is None else str(cache)
        )
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        if source is not None:
            raise ValueError(
                f"{source} cannot be read as the {split!r} split of {name} ({reason}); "
                "needed are parquet files, or images with a metadata file, in a folder for each split."
            ) from error
        raise ConnectionError(
            f"{name} could not be fetched from the hub ({reason}): connect to the network, pass source= a local copy, "
            "or stay with the emoji world (tinyvlm.data.World), which needs neither."
        ) from error
    return rows


def _column(name: str, what: str, accepted: tuple[str, ...], present: list[str]) -> str:
    for column in accepted:
        if column in present:
            return column
    raise ValueError(
        f"This copy of {name} has no {what} column: it has {', '.join(present)}; name one of them {accepted[0]!r}."
    )

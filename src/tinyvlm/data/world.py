"""The emoji world as batches: scenes with captions, and captions with a single change as negatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tinyvlm.data.captions import captions
from tinyvlm.data.changes import change_scenes, changed_captions, check_change
from tinyvlm.data.render import check_size, render
from tinyvlm.data.scenes import Scenes, SceneSpec, content, pool, sample_scenes
from tinyvlm.data.sentences import grammar
from tinyvlm.data.views import Batch, View, as_indices, encode

# Room for the longest captions, four small objects; tests/data/test_world.py measures them in every language.
CONTEXT: dict[str, int] = {"en": 40, "ko": 56}
_LONG_CONTEXT = 128
MOST_UNIQUE = 500_000


class World(View):
    """Scenes of one split with their captions.

    split: train, val, compositional or novel; seed: which stream of scenes; spec: what scenes are made of; size:
    picture side in pixels; language: of the captions; context: tokens a text is padded to (None: 40 in English, 56 in
    Korean, 128 in the others, whose words are split more finely).

    Raises ValueError for an unknown split or language, a size that cannot be drawn, a context below 3.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        spec: SceneSpec = SceneSpec(),  # noqa: B008 (frozen)
        size: int = 48,
        language: str = "en",
        context: int | None = None,
    ) -> None:
        pool(spec, split)
        check_size(size)
        grammar(language)
        if context is not None and context < 3:
            raise ValueError(f"context {context}: a text has BOS, EOS and a word between; use at least 3")
        self.split, self.seed, self.spec, self.size, self.language = split, seed, spec, size, language
        self.context = CONTEXT.get(language, _LONG_CONTEXT) if context is None else context

    def scenes(self, indices: ArrayLike) -> Scenes:
        """The scenes `indices` (int [B])."""
        return sample_scenes(self.spec, self.split, self.seed, as_indices(indices))

    def captions(self, indices: ArrayLike) -> list[str]:
        """The true captions of the scenes `indices`, as in `batch`."""
        return self._texts(self.scenes(indices))[0]

    def batch(self, indices: ArrayLike, negatives: Sequence[str] = ()) -> Batch:
        """Pictures, captions and changed captions of the scenes `indices` (int [B]).

        image uint8 [B,3,size,size]; text int64 [B,context]; text_mask bool [B,context], True for tokens; index int64
        [B]; content int64 [B], equal for scenes whose captions say the same. For N `negatives` (names from
        `changes.CHANGES`) also negatives int64 [B,N,context], the caption with that one change under the same phrasing,
        negatives_text_mask bool [B,N,context], and negatives_mask bool [B,N], True where the scene admits the change;
        elsewhere the caption is empty (BOS EOS).

        Raises ValueError for an unknown change and for a context that a caption does not fit.
        """
        index = as_indices(indices)
        for change in negatives:
            check_change(change)
        scenes = self.scenes(index)
        lines, about = self._texts(scenes)
        text, mask = encode(lines, self.context)
        batch = {"image": render(scenes, self.size), "text": text, "text_mask": mask, "index": torch.from_numpy(index)}
        batch["content"] = torch.from_numpy(content(scenes).view(np.int64))
        batch.update(about)
        if negatives:
            made = [self._changed(scenes, change) for change in negatives]
            batch["negatives"] = torch.stack([item["text"] for item in made], 1)
            batch["negatives_text_mask"] = torch.stack([item["text_mask"] for item in made], 1)
            batch["negatives_mask"] = torch.stack([item["admitted"] for item in made], 1)
        return batch

    def changes(self, indices: ArrayLike, change: str) -> Batch:
        """Captions with one thing changed, for a forced choice against those of `batch`.

        text int64 [B,context]; text_mask bool [B,context]; admitted bool [B], False where the scene has nothing to
        change in that way and the text is empty. Raises ValueError for an unknown change.
        """
        return self._changed(self.scenes(indices), change)

    def changed_images(self, indices: ArrayLike, change: str) -> Batch:
        """Pictures with one thing changed: image uint8 [B,3,size,size], what `changes` describes; admitted bool [B]."""
        changed, admitted = change_scenes(self.scenes(indices), change)
        return {"image": render(changed, self.size), "admitted": torch.from_numpy(admitted)}

    def unique(self, n: int, offset: int = 0) -> NDArray[np.int64]:
        """The first n indices from `offset` on whose scenes all differ in content, hence in caption: int64 [n].

        Raises ValueError for more than 500,000 at once, which take seconds, and when the split has fewer different
        scenes than n among 64 n, as soon as that shows.
        """
        if n < 1:
            raise ValueError(f"n={n}: ask for at least one scene")
        if n > MOST_UNIQUE:
            raise ValueError(f"n={n}: ask for at most {MOST_UNIQUE}; training needs no unique scenes")
        seen, kept = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        step = min(n, 2**16) + 1024
        starts = range(offset, offset + 64 * n + 1024, step)
        for start in starts:
            index = np.arange(start, start + step)
            said, first = np.unique(content(self.scenes(index)), return_index=True)
            new = np.sort(first[~np.isin(said, seen)])
            kept = np.concatenate([kept, index[new]])
            if len(kept) >= n:
                return kept[:n]
            if len(kept) + 2 * (len(new) + 1) * len(starts[starts.index(start) + 1 :]) < n:
                break  # each further draw of so many brings fewer new scenes than this one
            seen = np.concatenate([seen, said])
        raise ValueError(
            f"split {self.split!r} with {self.spec} has only {len(kept)} different scenes among the first "
            f"{start + len(index) - offset}; ask for fewer, or allow more objects, plates or backgrounds"
        )

    def _texts(self, scenes: Scenes) -> tuple[list[str], Batch]:
        """What stands beside the pictures, and what a batch says about it; views with other texts override this."""
        return captions(scenes, self.language), {}

    def _changed(self, scenes: Scenes, change: str) -> Batch:
        lines, admitted = changed_captions(scenes, change, language=self.language)
        text, mask = encode(lines, self.context)
        return {"text": text, "text_mask": mask, "admitted": torch.from_numpy(admitted)}

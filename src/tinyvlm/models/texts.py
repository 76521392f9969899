"""One sentence for texts that a tower cannot read, or would read wrongly without a word."""

import torch
from torch import Tensor


def check_texts(ids: Tensor, mask: Tensor | None, vocabulary: int) -> None:
    """ValueError for ids that are no [texts, tokens] of whole numbers or lie outside the vocabulary, and for a mask of
    another dtype or shape, or with a real token behind padding: positions are counted from the left, so that a text
    padded there is another text.

    What has to look at values is checked on the CPU only: on a GPU each look would stall the stream.
    """
    if ids.ndim != 2 or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ValueError(
            f"ids are {ids.dtype} of shape {list(ids.shape)}; a text tower takes whole numbers [texts, tokens]: "
            "tokenise first"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != ids.shape):
        raise ValueError(
            f"mask is {mask.dtype} of shape {list(mask.shape)}; wanted are booleans {list(ids.shape)}, True at real "
            "tokens: convert it with .bool()"
        )
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or not ids.numel():
        return
    low, high = (int(bound) for bound in ids.aminmax())
    if low < 0 or high >= vocabulary:
        raise ValueError(
            f"ids run from {low} to {high}, and this model knows 0 to {vocabulary - 1}: use the tokenizer that it was "
            "trained with"
        )
    if mask is not None and not (mask[:, 0].all() and (mask[:, 1:] <= mask[:, :-1]).all()):
        raise ValueError(
            "mask is True behind padding, or nowhere in a text; this model reads padding at the end only: pad on the "
            "right, and give an empty text its end token"
        )


def ends(ids: Tensor, end: int | None) -> Tensor:
    """Place of the end token in each text, int [texts]: the first `end`, or where that is None the largest id.

    ValueError, outside compiled code, for a text without one: it would be read at its first word, and all such texts
    be one.
    """
    if end is None:
        place, marked = ids.argmax(1), ids.amax(1) == ids.max()
    else:
        found = ids == end
        place, marked = found.int().argmax(1), found.any(1)
    if not torch.compiler.is_compiling() and not bool(marked.all()):
        row = int((~marked).nonzero()[0])
        which = "the largest id of all" if end is None else end
        raise ValueError(f"text {row} has no end token ({which}): add it, or pass a mask that is True at real tokens")
    return place

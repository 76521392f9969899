"""Weights in eight bits: a quarter of float32, for the models that ship with the course.

A row of a matrix becomes whole numbers from -127 to 127 and one scale, the row's largest weight over 127. An error is
at most half a scale, and what 16 bits lose in writing the scale. Norms, biases and single vectors stay in float16. Of a
word table, rows can be left out: words that a model was never shown have random vectors, which nobody needs to fetch.
They load as zeros.

A packed tensor lies in the file under its own name, beside `NAME@scale` and, with rows left out, `NAME@kept`.
"""

from collections.abc import Sequence

import torch

from tinyvlm.models.folders import State

SCALE, KEPT = "@scale", "@kept"
LARGEST = 127


def pack(state: State, words: Sequence[int] | None = None) -> State:
    """`state`, finite and on the CPU, with its matrices in eight bits. `words` are the ids that word tables keep."""
    packed: State = {}
    for name, value in state.items():
        if not value.is_floating_point() or value.ndim < 2:
            packed[name] = value.half() if value.is_floating_point() else value
            continue
        value = value.float()
        if words is not None and name.endswith("words.weight"):
            kept = torch.zeros(len(value), dtype=torch.bool)
            kept[list(words)] = True
            packed[name + KEPT], value = kept, value[kept]
        scale = (value.flatten(1).abs().amax(1) / LARGEST).half()
        shape = (-1, *[1] * (value.ndim - 1))
        # The smallest step of float16 stands in for rows of zeros and of weights below it.
        step = scale.float().clamp(min=torch.finfo(torch.float16).smallest_normal).view(shape)
        packed[name] = (value / step).round().clamp(-LARGEST, LARGEST).to(torch.int8)
        packed[name + SCALE] = step.view(-1).half()
    return packed


def unpack(state: State) -> State:
    """What `pack` made, in float32; any other state as it is. ValueError for parts that do not fit each other."""
    whole = {name: value for name, value in state.items() if not name.endswith((SCALE, KEPT))}
    for name in [name.removesuffix(SCALE) for name in state if name.endswith(SCALE)]:
        value, scale, kept = (state.get(part) for part in (name, name + SCALE, name + KEPT))
        if value is None or scale is None or value.dtype != torch.int8 or scale.shape != value.shape[:1]:
            raise ValueError(f"{name} does not fit its scale; fetch or save the checkpoint again")
        rows = value.float() * scale.float().view(-1, *[1] * (value.ndim - 1))
        if kept is not None:
            if kept.dtype != torch.bool or kept.ndim != 1 or int(kept.sum()) != len(rows):
                raise ValueError(f"{name} has {len(rows)} rows, not those of its list; fetch the checkpoint again")
            rows = rows.new_zeros(len(kept), *rows.shape[1:]).index_put((kept,), rows)
        whole[name] = rows
    return whole

"""Pictures from files as the course's arrays: eight bits, three channels, square."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps


def to_square(picture: Any, size: int) -> np.ndarray:
    """A picture as uint8 [3, size, size]: the shorter side resized (bicubic), the middle of the longer one kept.

    picture: a PIL image, or what parquet stores for one, {"bytes": ..., "path": ...}. Transparent places show a white
    ground. Of 16 bits a value, the upper 8 are kept. ValueError for modes I and F, whose range nobody knows, and for
    what is no picture.
    """
    if isinstance(picture, Mapping):
        stored = picture.get("bytes")
        picture = Image.open(io.BytesIO(stored) if stored else str(picture["path"]))
    if not isinstance(picture, Image.Image):
        raise ValueError(f"{picture!r:.80} is no picture: pass one of PIL, or the bytes of a file.")
    picture = _eight_bits(ImageOps.exif_transpose(picture), picture.format == "PNG")
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def _eight_bits(picture: Image.Image, png: bool) -> Image.Image:
    """The picture in mode RGB. Pillow's own conversion clips grey of 16 bits at 255 and drops transparency."""
    mode = picture.mode
    if mode.startswith("I;16") or (mode == "I" and png):  # older Pillows read a PNG of 16 bits as I
        grey, clear = np.asarray(picture).astype(np.int64), picture.info.get("transparency")
        if isinstance(clear, int):
            grey[grey == clear] = 2**16 - 1
        picture = Image.fromarray((grey >> 8).astype(np.uint8))
    elif mode in ("I", "F"):
        raise ValueError(f"mode {mode} has no known range: convert the picture to 8 bits (L or RGB) first")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        ground = Image.new("RGBA", picture.size, "white")
        ground.alpha_composite((picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA"))
        picture = ground
    return picture.convert("RGB")

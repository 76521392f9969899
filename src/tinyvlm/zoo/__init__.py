"""Small trained weights that ship with the course, so that a later week can start from an earlier week's model.

    from tinyvlm import zoo
    clip = zoo.load("clip-micro")

Each entry is a folder with `model.safetensors` in eight bits (see `models.packing`; the earliest in float16),
`config.json` and `provenance.json`: which run made it, with which results, and which code.
"""

import json
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from tinyvlm.evidence import note
from tinyvlm.files import write_text
from tinyvlm.models.base import CONFIG, PaperModel

FOLDER = Path(__file__).parent / "weights"
VARIABLE = "TINYVLM_ZOO"
PROVENANCE = "provenance.json"


def names() -> list[str]:
    """What the zoo holds, in alphabetical order."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CONFIG}"))


def _entry(name: str) -> Path:
    if name not in names():
        raise ValueError(f"the zoo has no {name!r}; it has {', '.join(names()) or 'nothing yet'}: choose one of these")
    return FOLDER / name


def load(name: str) -> PaperModel:
    """The model called `name`, in float32 and evaluation mode. ValueError: not in the zoo, or damaged."""
    folder = _entry(name)
    note(f"zoo/{name}")
    kind = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model"]
    # By name: who loads one model does not depend on the code of all of them (see training.fingerprint).
    model: PaperModel = getattr(import_module("tinyvlm.models"), kind).from_pretrained(folder)
    return model


def provenance(name: str) -> dict[str, Any]:
    """Week, preset, device, date, metrics and code of the run that trained `name`."""
    found: dict[str, Any] = json.loads((_entry(name) / PROVENANCE).read_text(encoding="utf-8"))
    return found


def english() -> list[int]:
    """Ids of reserved tokens and of all that the English sentences of the world hold: the rows of word tables that
    an entry keeps."""
    from tinyvlm.data import captions, episodes, questions, regions, statements, text_only
    from tinyvlm.data.emoji import load_emoji
    from tinyvlm.data.tokenizer import RESERVED, load_tokenizer

    emoji, tokenizer = load_emoji(), load_tokenizer()
    names = emoji.names()
    texts = [*names, *(emoji.plural(noun) for noun in range(len(names)))]
    for view in (captions, questions, statements, regions, episodes, text_only):
        texts += view.template_sentences()
    return sorted({*range(len(RESERVED)), *(token for text in texts for token in tokenizer.ids(text))})


def offer(name: str, model: PaperModel, receipt: Mapping[str, Any]) -> Path | None:
    """Leave a trained model for the zoo, with what its receipt says of the run.

    Only under `course run`, which sets TINYVLM_ZOO and takes the offer when the whole chapter has passed; otherwise
    (in Colab, in a trial) nothing is written and None is returned.
    """
    target = os.environ.get(VARIABLE)
    if not target:
        return None
    folder = model.save_pretrained(Path(target) / name, dtype=torch.int8, words=english())
    keys = ("week", "preset", "size", "seed", "date", "device", "code", "metrics")
    write_text(
        folder / PROVENANCE, json.dumps({key: receipt[key] for key in keys}, indent=1, ensure_ascii=False) + "\n"
    )
    return folder

"""A checkpoint's folder: which files in it are the model, and what they may not be.

A checkpoint comes from anywhere, so nothing in it is believed: names of weight files stay inside the folder, a pipe or
a device in place of a file is no file, and whatever cannot be read is told in one sentence with the file's name.
"""

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

State = dict[str, Tensor]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
INDEX = f"{WEIGHTS}.index.json"
OPEN_CLIP_WEIGHTS, OPEN_CLIP = "open_clip_model.safetensors", "open_clip_config.json"
OURS = "tinyvlm"
LARGEST_JSON = 64 * 2**20  # bytes; the largest models' indices have about one


def read_folder(folder: Path) -> tuple[dict[str, Any], State]:
    """Configuration and weights of a folder as we, transformers or open_clip write it.

    Where several lie side by side, our own header wins, so that what was saved last by this course is what is loaded;
    then open_clip's. One file of weights wins over an index, as in transformers.

    Raises FileNotFoundError (a file is missing) and ValueError (damaged, odd, or reaching outside the folder).
    """
    config = _json(folder / CONFIG) if (folder / CONFIG).is_file() else None
    theirs = (folder / OPEN_CLIP).is_file() and (config is None or (folder / OPEN_CLIP_WEIGHTS).is_file())
    if theirs and (config is None or config.get("model_type") != OURS):
        header = _json(folder / OPEN_CLIP)
        if not isinstance(header.get("model_cfg"), dict):
            raise ValueError(f"{folder / OPEN_CLIP} has no object called model_cfg; fetch or save the checkpoint again")
        return {"model_type": "open_clip", **header["model_cfg"]}, _load(folder, OPEN_CLIP_WEIGHTS, _UNCONVERTED)
    if config is None:
        raise FileNotFoundError(f"{folder} has no {CONFIG}; point to a folder written by save_pretrained")
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return config, _load(folder, WEIGHTS, _UNCONVERTED)
    where = _weight_map(folder / INDEX)
    state: State = {}
    for part in sorted(set(where.values())):
        loaded = _load(folder, part, f"a part that {INDEX} names: fetch or save the checkpoint again")
        # A tensor that lies in two parts counts where the index says.
        state.update({name: value for name, value in loaded.items() if where.get(name, part) == part})
    return config, state


_UNCONVERTED = "this course never unpickles: convert the checkpoint with its own library's save_pretrained first"


def _load(folder: Path, part: str, remedy: str) -> State:
    if not (folder / part).is_file():  # a pipe would be waited for without end
        raise FileNotFoundError(f"{folder} has no {part}; {remedy}")
    try:
        return load_file(folder / part)
    except (SafetensorError, LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{folder / part} is damaged or cut short ({error}); fetch or save it again") from error


def _weight_map(index: Path) -> dict[str, str]:
    where = _json(index).get("weight_map")
    if not isinstance(where, dict) or not where or not all(isinstance(part, str) for part in where.values()):
        raise ValueError(f"{index} has no weight_map from tensors to files; fetch or save the checkpoint again")
    for part in where.values():
        plain = part == PurePosixPath(part).name == PureWindowsPath(part).name and part.endswith(".safetensors")
        if not plain or "\0" in part:
            raise ValueError(
                f"{index} names {part!r}, which is no safetensors file in this folder; a checkpoint may read nothing "
                "else: fetch or save it again"
            )
    return where


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"{path} is larger than {LARGEST_JSON >> 20} MiB, so it is no configuration; fetch it again")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); fetch or save the checkpoint again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object; fetch or save the checkpoint again")
    return value


def download(name: str, revision: str | None) -> Path:
    """A Hub repository's configuration and weights in the local cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    remedy = "pass a folder written by save_pretrained, or go online once so that it lands in the local cache"
    wanted = ["*.json", "*.safetensors"]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
        if revision is None and not any(folder.glob("*.safetensors")) and (converted := _conversion(name)):
            folder = Path(snapshot_download(name, revision=converted, allow_patterns=wanted))
        return folder
    except HFValidationError as error:
        raise FileNotFoundError(f"{name} is neither a folder nor a Hub id: {remedy}") from error
    except (LocalEntryNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(f"{name} is not in the local cache and the Hub cannot be reached: {remedy}") from error
    except Exception as error:  # what a failed connection raises depends on the client's version
        raise FileNotFoundError(f"the Hub does not give {name} ({type(error).__name__}): {remedy}") from error


def _conversion(name: str) -> str | None:
    """The branch on which the Hub's converter offers a pickled checkpoint as safetensors; None if there is none.

    Official checkpoints of 2021 and 2022 are often older than the format and were never converted on their main branch.
    """
    from huggingface_hub import HfApi

    for request in HfApi().get_repo_discussions(name, author="SFconvertbot", discussion_type="pull_request"):
        if "safetensors" in request.title and request.status == "open":
            return str(request.git_reference)
    return None

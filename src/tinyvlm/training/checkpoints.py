"""Checkpoints that are whole or not there: written aside, synced, renamed; tensors as safetensors, the rest as JSON.

    folder/checkpoints/0003-step-120/tensors.safetensors
                                     state.json

The number in front grows with every checkpoint that the folder ever saw, so the newest is the highest, also when a
run was started over in the same folder.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinyvlm.files import explained, first_line, write_folder

FORMAT = 1
NAME = re.compile(r"^(\d+)-step-(\d+)$")


class Checkpoints:
    """The checkpoints of one run in `folder`, of which the newest `keep` stay.

    `settings` says which run this is, in JSON values: `load` refuses a checkpoint with other settings.
    Errors are one sentence each: OSError for what cannot be written, ValueError for what cannot be read.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any], keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep={keep} would keep no checkpoint: give at least 1.")
        self.folder = Path(folder) / "checkpoints"
        self.settings = json.loads(json.dumps(settings))
        self.keep = keep

    def prepare(self) -> None:
        """Make the folder and find out now, not an hour into the training, whether it can be written."""
        with explained(f"Folder {self.folder.parent}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".*"):  # of a process that was killed while writing or removing
                shutil.rmtree(leftover, ignore_errors=True)
            probe = self.folder / ".probe"
            probe.mkdir()
            probe.rmdir()

    def all(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = [path for path in self.folder.glob("*-step-*") if NAME.match(path.name)] if self.folder.is_dir() else []
        return sorted(found, key=_serial)

    def latest(self) -> Path | None:
        return self.all()[-1] if self.all() else None

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], step: int) -> Path:
        """Write a checkpoint after `step` steps and remove those beyond `keep`. Returns its folder."""
        from safetensors.torch import save_file

        latest = self.latest()
        target = self.folder / f"{_serial(latest) + 1 if latest else 1:04d}-step-{step}"
        # A clone each: safetensors refuses tensors that share memory, as tied embeddings do.
        plain = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
        size = sum(value.nbytes for value in plain.values()) / 2**20
        kept = f"the last good checkpoint is {latest}" if latest else "there is no earlier checkpoint"
        whole = {"format": FORMAT, "step": step, "settings": self.settings, **state}

        def write(folder: Path) -> None:
            save_file(plain, folder / "tensors.safetensors")
            (folder / "state.json").write_text(json.dumps(whole), encoding="utf-8")

        with explained(f"Checkpoint at step {step} ({size:.1f} MB) in {self.folder.parent}", kept):
            write_folder(target, write)
        for old in self.all()[: -self.keep]:
            # Renamed first: a process killed half-way through removing must not leave half a checkpoint.
            gone = old.with_name(f".{old.name}")
            os.rename(old, gone)
            shutil.rmtree(gone, ignore_errors=True)
        return target

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and state of the newest checkpoint, or None when there is none.

        Raises ValueError when it is damaged or belongs to a run with other settings; no file is changed.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.latest()
        if path is None:
            return None
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            tensors = load_file(path / "tensors.safetensors")
            known = state["format"] == FORMAT and isinstance(state["step"], int)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(
                f"Checkpoint {path} is damaged or not one of ours ({first_line(error)}): delete this folder to go on "
                "from the one before it."
            ) from None
        if not known:
            raise ValueError(
                f"Checkpoint {path} has format {state['format']!r} where this version reads {FORMAT}: train with the "
                "version that wrote it, or pass resume=False to start over."
            )
        difference = first_difference(state.get("settings"), self.settings)
        if difference:
            raise ValueError(
                f"Checkpoint {path} belongs to another run ({difference}): use the same settings, choose another "
                "folder=, or pass resume=False to start over."
            )
        return tensors, state


def first_difference(there: Any, here: Any, name: str = "") -> str:
    """The first place where two JSON values differ, in words, or an empty string."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*here, *(key for key in there if key not in here)]:
            found = first_difference(there.get(key), here.get(key), f"{name}.{key}" if name else str(key))
            if found:
                return found
        return ""
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        rows = (first_difference(a, b, f"{name}[{i}]") for i, (a, b) in enumerate(zip(there, here, strict=True)))
        return next((row for row in rows if row), "")
    return "" if there == here else f"{name or 'settings'} is {there!r} there and {here!r} here"


def optimiser_tensors(optimisers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Optimiser state by parameter name: `number/parameter/key`."""
    rows = {}
    for number, optimiser in enumerate(optimisers):
        for group in optimiser.param_groups:
            for name, parameter in zip(group["names"], group["params"], strict=True):
                for key, value in optimiser.state.get(parameter, {}).items():
                    if value is not None:
                        rows[f"{number}/{name}/{key}"] = torch.as_tensor(value)
    return rows


def load_optimisers(optimisers: list[torch.optim.Optimizer], rows: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned, on each parameter's device."""
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for path, value in rows.items():
        parameter, _, key = path.rpartition("/")
        by_parameter.setdefault(parameter, {})[key] = value
    for number, optimiser in enumerate(optimisers):
        names = [name for group in optimiser.param_groups for name in group["names"]]
        state = {i: by_parameter[f"{number}/{n}"] for i, n in enumerate(names) if f"{number}/{n}" in by_parameter}
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _serial(path: Path) -> int:
    match = NAME.match(path.name)
    return int(match.group(1)) if match else 0

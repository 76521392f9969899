"""What a run leaves behind: losses per step, time, memory; and the log file from which a resumed run reads them."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tinyvlm.files import explained, write_text


class NonFiniteLoss(FloatingPointError):
    """A loss or gradient became infinite or NaN; the message names stage, step, which one, and the batch."""


class Record(NamedTuple):
    """One step: `step` counts from 1 within `stage`; `losses` are means over the global batch; `loss` is their sum."""

    stage: str
    step: int
    loss: float
    losses: dict[str, float]


@dataclass
class History:
    """Losses of every step and what the run cost. `seconds` and `samples` include the part before a resume."""

    records: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    samples: int = 0
    peak_memory_mb: float | None = None
    interrupted: bool = False
    device: str = ""

    @property
    def loss(self) -> list[float]:
        """Sum of the losses, one value a step."""
        return [record.loss for record in self.records]

    @property
    def losses(self) -> dict[str, list[float]]:
        """Each loss by name, one value a step; NaN in the steps of a stage that has no such loss."""
        names = dict.fromkeys(name for record in self.records for name in record.losses)
        return {name: [record.losses.get(name, math.nan) for record in self.records] for name in names}

    @property
    def steps(self) -> int:
        return len(self.records)

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        final = ", ".join(
            f"{name} {value:.3f}" for name, value in (self.records[-1].losses if self.records else {}).items()
        )
        memory = "" if self.peak_memory_mb is None else f", peak memory {self.peak_memory_mb:,.0f} MB"
        return (
            f"{'interrupted after' if self.interrupted else 'done:'} {self.steps:,} steps, {self.samples:,} samples in "
            f"{clock(self.seconds)} ({self.samples_per_second:,.0f} samples/s) on {self.device}{memory}; last {final}"
        )


_watching: list[list[History]] = []


@contextmanager
def watch() -> Iterator[list[History]]:
    """`with watch() as trainings:` collects the history of every `fit` that ends inside, however deep in a call."""
    found: list[History] = []
    _watching.append(found)
    try:
        yield found
    finally:
        _watching.pop()


def tell(history: History) -> None:
    """Hand a finished history to those who watch."""
    for found in _watching:
        found.append(history)


class Log:
    """`folder/log.jsonl`: one line a step. Steps after the checkpoint that a run resumes from are taken back."""

    def __init__(self, folder: Path):
        self.path = folder / "log.jsonl"

    def read(self, steps: int) -> list[Record]:
        """The first `steps` records."""
        lines = self.path.read_text(encoding="utf-8").splitlines()[:steps] if self.path.exists() else []
        return [Record(*(json.loads(line)[key] for key in Record._fields)) for line in lines]

    def resume(self, steps: int) -> list[Record]:
        """The first `steps` records; later lines, a torn last one among them, are removed from the file."""
        records = self.read(steps)
        write_text(self.path, "".join(map(_line, records)))
        return records

    def append(self, records: list[Record]) -> None:
        with explained(f"File {self.path}"), self.path.open("a", encoding="utf-8") as file:
            file.writelines(map(_line, records))


class Pending:
    """Values of steps that are still on the device.

    Reading a number from a GPU waits for all its work, so they are collected and read together after `every` steps.
    A row: step, samples, names of the losses, and what `Update` returned.
    """

    def __init__(self, every: int):
        self.every = every
        self.rows: list[tuple[int, int, list[str], Tensor]] = []

    def add(self, step: int, samples: int, names: list[str], values: Tensor) -> None:
        self.rows.append((step, samples, names, values))

    @property
    def full(self) -> bool:
        return len(self.rows) >= self.every

    def read(self) -> Iterator[tuple[int, int, list[str], list[float]]]:
        rows, self.rows = self.rows, []
        flat = torch.cat([values for *_, values in rows]).tolist() if rows else []
        for step, samples, names, values in rows:
            mine, flat = flat[: values.numel()], flat[values.numel() :]
            yield step, samples, names, mine


def _line(record: Record) -> str:
    return json.dumps(record._asdict()) + "\n"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"

"""Progress that reads well while it runs and in the stored output of a notebook."""

import io
import os
import time
from typing import Any

from tinyvlm.training.history import History, Record, clock

LINES = 12  # a run's, beside the first step's and the summary
KINDS = ("text", "live")


class Progress:
    """Plain lines: stage, step, mean losses since the last line, samples/s, time left."""

    def __init__(self, total: int, done: int = 0):
        self.total = total
        self.marks = {round(total * i / LINES) for i in range(1, LINES + 1)} | {done + 1}
        self.done = done
        self.first = done + 1  # the first step warms up (compilation, caches): speed is measured after it
        self.samples = 0
        self.began = time.perf_counter()
        self.recent: list[Record] = []

    def step(self, record: Record, steps: int, samples: int) -> None:
        """Note one finished step of a stage of `steps` steps, on `samples` samples."""
        self.done += 1
        self.recent.append(record)
        if self.done > self.first:
            self.samples += samples
        else:
            self.began = time.perf_counter()
        if self.done in self.marks:
            self.show(steps)
            self.recent = []

    def show(self, steps: int) -> None:
        last = self.recent[-1]
        losses = "  ".join(f"{name} {_mean(self.recent, name):.3f}" for name in last.losses)
        print(f"{last.stage}  step {last.step:>{len(f'{steps:,}')},}/{steps:,}  {losses}{self.pace()}", flush=True)

    def pace(self) -> str:
        """Speed and time left, known from the second step on."""
        if self.done <= self.first:
            return ""
        seconds = time.perf_counter() - self.began
        left = seconds / (self.done - self.first) * (self.total - self.done)
        return f"  {self.samples / max(seconds, 1e-9):,.0f} samples/s  {clock(left)} left"

    def finish(self, history: History) -> None:
        print(str(history), flush=True)


class LiveCurve(Progress):
    """The plain lines, and in a live notebook above them a loss curve, redrawn in place.

    A run for the page (`course run`) stores the lines only: a chapter draws its curve in a cell of its own.
    """

    def __init__(self, total: int, done: int = 0):
        super().__init__(total, done)
        self.records: list[Record] = []
        self.due = 0.0
        self.handle: Any = None
        if not _in_live_notebook():
            return
        from IPython.display import display
        from matplotlib.figure import Figure

        # A Figure without pyplot: pyplot's inline backend would show it a second time at the end of the cell.
        self.figure = Figure(figsize=(7, 3), layout="constrained")
        self.axes = self.figure.subplots()
        self.handle = display(self.picture(), display_id=True)

    def picture(self) -> Any:
        from IPython.display import Image

        data = io.BytesIO()
        self.figure.savefig(data, format="png", dpi=80)
        return Image(data.getvalue(), alt=f"Losses over {self.done} training steps")

    def step(self, record: Record, steps: int, samples: int) -> None:
        self.records.append(record)
        super().step(record, steps, samples)
        if self.handle is not None and time.perf_counter() > self.due:
            self.draw()

    def draw(self) -> None:
        began = time.perf_counter()
        self.axes.clear()
        stride = max(1, len(self.records) // 200)
        for name in dict.fromkeys(name for record in self.records for name in record.losses):
            points = [
                (i + 1, _mean(self.records[max(0, i - stride + 1) : i + 1], name))
                for i in range(stride - 1, len(self.records), stride)
                if name in self.records[i].losses
            ]
            self.axes.plot(*zip(*points, strict=True), label=name) if points else None
        self.axes.set(xlabel="step", ylabel="loss", xlim=(0, self.total))
        self.axes.set_title(f"step {self.done:,} of {self.total:,}{self.pace()}", fontsize=10)
        self.axes.legend(loc="upper right", frameon=False)
        self.handle.update(self.picture())
        now = time.perf_counter()
        self.due = now + max(1.0, 20 * (now - began))  # drawing takes at most a twentieth of the training

    def finish(self, history: History) -> None:
        if self.handle is not None and self.records:
            self.draw()
        super().finish(history)


def make(kind: str | None, total: int, done: int) -> Progress | None:
    """The progress display called `kind`; None shows nothing."""
    if kind is None:
        return None
    if kind not in KINDS:
        raise ValueError(f"progress={kind!r} is unknown: choose {' or '.join(KINDS)}, or None for silence.")
    return Progress(total, done) if kind == "text" else LiveCurve(total, done)


def _mean(records: list[Record], name: str) -> float:
    values = [record.losses[name] for record in records if name in record.losses]
    return sum(values) / max(1, len(values))


def _in_live_notebook() -> bool:
    """Whether somebody can watch: a kernel that does not run a chapter for the page."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and "IPKernelApp" in shell.config and not os.environ.get("TINYVLM_RECEIPT")

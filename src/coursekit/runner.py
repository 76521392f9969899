"""Runs a chapter's notebook from the first cell to the last. Notebook and receipt change together, or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from coursekit.files import write_bytes, write_text
from coursekit.schema import Week
from tinyvlm.evidence import digest

# Seconds that one cell may take. The presets' budgets are 20 s and 10 min for a whole chapter on the hardware they were
# measured on; slower machines get several times that before a cell counts as stuck.
CELL_TIMEOUT: dict[str | None, int] = {"smoke": 300, "cpu": 3600, "gpu": 3600, None: 3600}

ZOO = Path("src", "tinyvlm", "zoo", "weights")

UNTOUCHED = "Notebook and receipt are as they were."


class RunError(RuntimeError):
    """The chapter did not run; notebook and receipt are as they were."""


class Progress(Protocol):
    """Hears what the run is doing."""

    def begin(self, position: int, total: int, cell: str) -> None: ...

    def heard(self, line: str) -> None: ...

    def end(self, position: int, total: int, cell: str, seconds: float) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """A run that passed: the executed notebook as text, its receipt (None for a trial run), wall-clock seconds, the
    seconds that cores worked for it (which neighbours on the machine hardly change), and what it offers to the zoo."""

    notebook: str
    receipt: dict[str, Any] | None
    seconds: float
    worked: float
    slowest: tuple[str, float]
    zoo: dict[str, bytes]


def environment(preset: str | None, size: str | None, receipt: Path) -> dict[str, str]:
    """What the notebook's process sees: this process's variables and the run's choices."""
    chosen = {"TINYVLM_PRESET": preset, "TINYVLM_SIZE": size}
    variables = dict(os.environ) | {name: value for name, value in chosen.items() if value is not None}
    # The tests set MPLBACKEND to Agg, which would leave a notebook without figures.
    inline = "module://matplotlib_inline.backend_inline"
    return variables | {"TINYVLM_RECEIPT": str(receipt), "PYTHONHASHSEED": "0", "MPLBACKEND": inline}


class _Client(NotebookClient):
    """Tells `progress` the last line a running cell printed, so that a long training cell is not silent."""

    progress: Progress

    def process_message(self, message: Any, cell: Any, index: int) -> Any:
        if message["msg_type"] == "stream":
            lines = message["content"]["text"].replace("\r", "\n").strip().splitlines()
            if lines:
                self.progress.heard(lines[-1])
        return super().process_message(message, cell, index)


def execute(
    root: Path,
    week: Week,
    progress: Progress,
    *,
    preset: str | None = None,
    size: str | None = None,
    threads: int | None = None,
) -> Outcome:
    """Runs the notebook in a fresh kernel and writes nothing. Raises `RunError`, naming cell and error, or ValueError.

    `threads` limits the kernel's cores (None: as many as the machine has).
    """
    if week.notebook is None:
        raise ValueError(f"Week {week.week} has no chapter to run yet: `course list` shows which weeks have one.")
    path = root / week.notebook
    if not path.is_file():
        raise FileNotFoundError(f"{week.notebook} does not exist: course.yml names it for week {week.week}.")
    notebook = nbformat.read(path, as_version=4)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="course-run-") as folder:
        receipt = Path(folder) / "receipt.json"
        zoo = Path(folder) / "zoo"
        variables = environment(preset, size, receipt) | {"TINYVLM_ZOO": str(zoo)}
        if threads is not None:
            variables |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCH_NUM_THREADS")}
        slowest, worked = _run_cells(notebook, path, variables, progress, CELL_TIMEOUT[preset])
        data = json.loads(receipt.read_text(encoding="utf-8")) if receipt.is_file() else None
        offered = {file.relative_to(zoo).as_posix(): file.read_bytes() for file in zoo.rglob("*") if file.is_file()}
    return Outcome(_tidied(notebook), data, time.monotonic() - started, worked, slowest, offered)


def run_chapter(
    root: Path,
    week: Week,
    progress: Progress,
    *,
    preset: str | None = None,
    size: str | None = None,
    more: Callable[[str], dict[str, Any]] = lambda preset: {},
) -> Outcome:
    """Runs the chapter and, when every cell passed, replaces outputs and receipt together, then the zoo's weights.

    `more(preset)` is called before anything is replaced and returns what else the receipt keeps (`verify.added`).
    A `smoke` run is a trial and replaces nothing: its numbers mean nothing.
    Raises `RunError` (a cell failed, or the run left no receipt), ValueError or OSError; then both are untouched.
    """
    outcome = execute(root, week, progress, preset=preset, size=size)
    if outcome.receipt is None:
        raise RunError(
            f"{week.notebook} ran to its end and wrote no receipt, so nothing was kept: its last cell has to call "
            "Receipt.finish()."
        )
    if outcome.receipt.get("week") != week.week:
        raise RunError(
            f"{week.notebook} wrote a receipt for week {outcome.receipt.get('week')!r}, not {week.week}, so nothing "
            "was kept: mend the week where the notebook makes its Receipt."
        )
    if outcome.receipt.get("preset") == "smoke":
        return outcome
    outcome.receipt.update(more(str(outcome.receipt.get("preset"))))
    _own_weights(root, outcome)
    notebook, receipt = root / str(week.notebook), root / week.receipt
    receipt.parent.mkdir(parents=True, exist_ok=True)
    before = notebook.read_text(encoding="utf-8")
    write_text(notebook, outcome.notebook)
    try:
        write_text(receipt, json.dumps(outcome.receipt, indent=1, ensure_ascii=False) + "\n")
    except OSError:
        write_text(notebook, before)
        raise
    for name, content in outcome.zoo.items():
        target = root / ZOO / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, content)
    return outcome


def _own_weights(root: Path, outcome: Outcome) -> None:
    """A chapter that shows last time's weights of its own model must not age by replacing them."""
    inputs = (outcome.receipt or {}).setdefault("inputs", {})
    with tempfile.TemporaryDirectory(prefix="course-zoo-") as folder:
        for name, content in outcome.zoo.items():
            target = Path(folder) / ZOO.relative_to("src/tinyvlm") / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        for entry in {name.split("/")[0] for name in outcome.zoo}:
            inputs[f"zoo/{entry}"] = digest(f"zoo/{entry}", Path(folder))


def _run_cells(
    notebook: Any, path: Path, variables: dict[str, str], progress: Progress, timeout: int
) -> tuple[tuple[str, float], float]:
    client = _Client(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        # Patience on a busy machine: nbclient gives a kernel a minute, and drops outputs that are 4 s late.
        startup_timeout=600,
        iopub_timeout=120,
        raise_on_iopub_timeout=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.progress = progress
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    slowest = ("", 0.0)
    position = 0
    manager = client.create_kernel_manager()
    if os.name == "posix":  # sockets in a private folder rather than ports, to which other users could listen
        manager.transport = "ipc"
        manager.ip = str(Path(variables["TINYVLM_RECEIPT"]).with_name("kernel"))
    with client.setup_kernel(env=variables):
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            position += 1
            name = cell.get("id", f"cell {index}")
            progress.begin(position, total, name)
            began = time.monotonic()
            try:
                client.execute_cell(cell, index, execution_count=position)
            except CellTimeoutError:
                raise RunError(
                    f"{path.name}: cell {name!r} was stopped after {timeout} s: run a smaller preset or size, or mend "
                    f"the cell. {UNTOUCHED}"
                ) from None
            except DeadKernelError:
                raise RunError(
                    f"{path.name}: the kernel died in cell {name!r}, most likely for want of memory: close other "
                    f"programs or run a smaller size. {UNTOUCHED}"
                ) from None
            except CellExecutionError as error:
                raise RunError(
                    f"{path.name}: cell {name!r} failed with {error.ename}: {error.evalue}. {UNTOUCHED}\n"
                    f"{error.traceback}"
                ) from None
            seconds = time.monotonic() - began
            slowest = max(slowest, (name, seconds), key=lambda item: item[1])
            progress.end(position, total, name, seconds)
        kernel = psutil.Process(manager.provisioner.process.pid)  # type: ignore[union-attr]
        times = [process.cpu_times() for process in (kernel, *kernel.children(recursive=True))]
    return slowest, sum(spent.user + spent.system for spent in times)


def _tidied(notebook: Any) -> str:
    """The notebook as text: no widget state, no machine's language version, stream outputs of a cell joined."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell["outputs"] = _joined(cell.get("outputs", []))
    _slimmed([output for cell in notebook.cells for output in cell.get("outputs", [])])
    return nbformat.writes(notebook) + "\n"


def _slimmed(outputs: list[Any]) -> None:
    """Highlighted source without its LaTeX and plain twins, and with its style sheet once a notebook, not once a
    display. Spans of a class that the sheet does not style are left out: they are half of the text."""
    sheet = ""
    for output in outputs:
        data = output.get("data", {})
        if "text/latex" not in data or "text/html" not in data:
            continue
        del data["text/latex"]
        data.pop("text/plain", None)
        head, end, rest = data["text/html"].partition("</style>")
        if end and head.lstrip().startswith("<style>"):
            data["text/html"] = rest.lstrip() if sheet else data["text/html"]
            sheet = sheet or head
        data["text/html"] = _styled_spans(data["text/html"], set(re.findall(r"\.(\w+) \{", sheet)))


def _styled_spans(html: str, classes: set[str]) -> str:
    def kept(span: re.Match[str]) -> str:
        return span[0] if span[1] in classes else span[2]

    return re.sub(r'<span class="(\w+)">([^<]*)</span>', kept, html)


def _joined(outputs: list[Any]) -> list[Any]:
    """Consecutive prints to one stream as one output; what a carriage return overwrote is left out."""
    joined: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1]["text"] += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            lines = output["text"].split("\n")
            output["text"] = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
    return joined

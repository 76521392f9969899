"""Progress of a chapter's run: a moving line on a terminal, a line a cell elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.status import Status
from rich.text import Text

LINE = 100


class CellProgress:
    """Shows which cell runs, what it printed last, and how long finished cells took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._label = ""

    def __enter__(self) -> CellProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def begin(self, position: int, total: int, cell: str) -> None:
        self._label = f"[{position:>2}/{total}] {cell}"
        if self._console.is_terminal:
            self._status = self._status or self._console.status("")
            self._status.start()
            self._status.update(Text(self._label))

    def heard(self, line: str) -> None:
        if self._status:
            self._status.update(Text(f"{self._label}  {line}"[:LINE]))

    def end(self, position: int, total: int, cell: str, seconds: float) -> None:
        self._console.print(f"{self._label}  {seconds:.1f} s", markup=False)

    def clear(self) -> None:
        """Takes the moving line away, so that something else can be printed."""
        if self._status:
            self._status.stop()
            self._status = None

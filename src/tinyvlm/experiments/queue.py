"""A few processes side by side, one thread each, with progress; one that fails does not stop the others."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import ClassVar

LAST_LINES = 12


@dataclass
class Job:
    """A command. Lines `@progress DONE TOTAL` of its output are its progress, the last others explain a failure."""

    MARK: ClassVar[str] = "@progress"

    name: str
    command: Sequence[str]
    share: float = 0.0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    process: subprocess.Popen[str] | None = None
    reader: Thread | None = None

    def start(self) -> None:
        # One thread each: two such jobs beat one with two threads at this size. A session of its own keeps Ctrl-C from
        # reaching the job before the queue has decided what to do with it.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | threads | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self.reader = Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(self.MARK):
                _, done, total = line.split()
                self.share = int(done) / max(1, int(total))
            else:
                self.lines.append(line.rstrip("\n"))

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def ended(self) -> bool:
        if self.process is None or self.process.poll() is None:
            return False
        if self.reader is not None:
            self.reader.join(5)
        return True


def run_jobs(jobs: Sequence[Job], side_by_side: int = 2) -> list[str]:
    """Run all jobs. Returns one line per failed job: its name, exit code and last line.

    Ctrl-C ends those that are running and raises KeyboardInterrupt; what others have written stays.
    """
    from tqdm import tqdm

    if side_by_side < 1:
        raise ValueError(f"jobs={side_by_side} would run nothing: give at least 1.")
    if not jobs:
        return []
    waiting = deque(jobs)
    running: list[Job] = []
    failures: list[str] = []
    finished, shown = 0, 0.0
    pause = 0.5 if sys.stderr.isatty() else 20.0  # a log file keeps every refresh as a line
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=len(jobs), desc=f"0 of {len(jobs)} jobs", bar_format=form) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < side_by_side:
                    running.append(waiting.popleft())
                    running[-1].start()
                time.sleep(0.1)
                for job in [one for one in running if one.ended]:
                    running.remove(job)
                    finished += 1
                    code = job.process.returncode if job.process else None
                    if code:
                        failures.append(f"{job.name}: exit code {code}, {job.lines[-1] if job.lines else 'no output'}")
                        bar.write(
                            f"{job.name} failed with exit code {code}:\n" + "\n".join(f"    {x}" for x in job.lines)
                        )
                    else:
                        bar.write(f"{job.name} done")
                bar.set_description_str(f"{finished} of {len(jobs)} jobs", refresh=False)
                bar.set_postfix_str("; ".join(f"{job.name} {job.share:.0%}" for job in running), refresh=False)
                bar.n = round(finished + sum(job.share for job in running), 3)
                if time.monotonic() - shown > pause:
                    shown = time.monotonic()
                    bar.refresh()
        except KeyboardInterrupt:
            bar.write(f"Stopped: {finished - len(failures)} of {len(jobs)} jobs are kept; the same command goes on.")
            raise
        finally:
            for job in running:
                job.stop()
    return failures

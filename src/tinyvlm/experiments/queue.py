"""A few processes side by side, one thread each, with progress; one that fails does not stop the others."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import ClassVar

# One thread each: two such jobs beat one with two threads at this size.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
LAST_LINES = 12
REFRESH = 0.5 if sys.stderr.isatty() else 20.0  # seconds; a log file keeps every refresh as a line


@dataclass
class Job:
    """A command. Lines `@progress DONE TOTAL` of its output are its progress, the last others explain a failure."""

    MARK: ClassVar[str] = "@progress"

    name: str
    command: Sequence[str]
    share: float = 0.0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    process: subprocess.Popen[str] | None = None
    stopped: bool = False

    def run(self) -> int:
        """Run the command to its end and return its exit code."""
        # A session of its own keeps Ctrl-C from the job until the queue has decided what to do with it.
        with subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | ONE_THREAD | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        ) as self.process:
            if self.stopped:  # between leaving the queue and starting
                self.process.kill()
            for line in self.process.stdout or ():
                if line.startswith(self.MARK):
                    _, done, total = line.split()
                    self.share = int(done) / max(1, int(total))
                else:
                    self.lines.append(line.rstrip("\n"))
        return self.process.returncode

    def stop(self) -> None:
        """End the command, by force after five seconds; one that has not started never does."""
        self.stopped = True
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()


def run_jobs(jobs: Sequence[Job], side_by_side: int = 2) -> list[str]:
    """Run all jobs. Returns one line per failed job: its name, exit code and last line.

    Ctrl-C ends those that are running and raises KeyboardInterrupt; what others have written stays.
    """
    from tqdm import tqdm

    if side_by_side < 1:
        raise ValueError(f"jobs={side_by_side} would run nothing: give at least 1.")
    failures: list[str] = []
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with ThreadPoolExecutor(side_by_side) as pool, tqdm(total=len(jobs), bar_format=form, disable=not jobs) as bar:
        of = {pool.submit(job.run): job for job in jobs}
        waiting: set[Future[int]] = set(of)
        try:
            while waiting:
                running = [of[one] for one in waiting if one.running()]
                bar.n = round(len(jobs) - len(waiting) + sum(job.share for job in running), 3)
                bar.set_description_str(f"{len(jobs) - len(waiting)} of {len(jobs)} jobs", refresh=False)
                bar.set_postfix_str("; ".join(f"{job.name} {job.share:.0%}" for job in running))
                done, waiting = wait(waiting, REFRESH, FIRST_COMPLETED)
                for job, code in [(of[one], one.result()) for one in done]:
                    if code:
                        failures.append(f"{job.name}: exit code {code}, {job.lines[-1] if job.lines else 'no output'}")
                    told = [f"failed with exit code {code}:", *job.lines] if code else ["done"]
                    bar.write(f"{job.name} " + "\n    ".join(told))
        except KeyboardInterrupt:
            kept = len(jobs) - len(waiting) - len(failures)
            bar.write(f"Stopped: {kept} of {len(jobs)} jobs are kept; the same command goes on.")
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for job in jobs:
                job.stop()
    return failures

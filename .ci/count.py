"""Fail unless every suite that reported under a folder of JUnit files ran at least one test, and none failed.

    python .ci/count.py runs/tests

A run in which everything was skipped, or nothing was collected, is not a green run.
"""

import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def count(file: Path) -> tuple[int, int, int]:
    """(run, skipped, failed) of one JUnit file."""
    run = skipped = failed = 0
    for suite in ET.parse(file).getroot().iter("testsuite"):
        total, left_out = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        run += total - left_out
        skipped += left_out
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return run, skipped, failed


def main(folder: Path) -> int:
    files = sorted(folder.glob("*.xml"))
    if not files:
        print(f"No test ran: {folder} holds no report.", file=sys.stderr)
        return 1
    wrong = []
    for file in files:
        run, skipped, failed = count(file)
        print(f"{file.stem:10s} {run:5d} ran {skipped:4d} skipped {failed:4d} failed")
        # On a laptop without a Chromium the browser tests skip with that reason; CI has to have one.
        optional = file.stem == "browser" and os.environ.get("CI") != "true"
        if failed or (run == 0 and not optional):
            wrong.append(file.stem)
    if wrong:
        print(f"Not green: {', '.join(wrong)} (a suite must run at least one test and fail none).", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

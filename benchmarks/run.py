"""Every comparison of the course in one run: `make benchmarks`, or `python benchmarks/run.py [ROW ...]`.

Writes benchmarks/results.md (shown in the book) and results.json beside it. Not a test: nothing fails for being slow.
"""

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))

import models
import parts
from timing import race, speed_up

from tinyvlm.files import write_text

HERE = Path(__file__).parent
ROWS = {
    "vit": models.vit,
    "clip": models.clip,
    "recall": parts.recall,
    "cider": parts.cider,
    "ema": parts.momentum,
    "batch": parts.batch,
    "import": parts.imports,
}


def machine() -> str:
    """Processor, cores used, system."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} threads, {platform.system()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def versions() -> str:
    wanted = ("torch", "transformers", "numpy", "tinyvlm", "pycocoevalcap")
    found = []
    for name in wanted:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    for path in models.REFERENCE.glob("open_clip_torch-*.dist-info"):
        found.append("open_clip " + path.name.split("-")[1].removesuffix(".dist"))
    return ", ".join(found)


def measure(name: str, rounds: int) -> dict:
    title, contenders = ROWS[name]()
    timings = race(contenders, rounds)
    (ours, base), *rivals = timings.items()
    return {
        "row": name,
        "title": title,
        "ours": ours,
        "rounds": rounds,
        "seconds": {who: timing.seconds for who, timing in timings.items()},
        "median": {who: timing.median for who, timing in timings.items()},
        "quartiles": {who: timing.quartiles for who, timing in timings.items()},
        "speed_up": {who: speed_up(base, timing) for who, timing in rivals},
    }


def table(results: dict) -> str:
    """The results as Markdown."""
    lines = [
        f"Measured {results['date']} on {results['machine']}; {results['versions']}. Contenders take turns, "
        f"{results['rounds']} rounds; median and quartiles of milliseconds. “Ours is faster by” is the median and the "
        "quartiles of the ratio round by round: above 1, ours is the faster one.",
        "",
        "| what | who | ms (quartiles) | ours is faster by |",
        "|---|---|---:|---:|",
    ]
    for row in results["rows"]:
        for place, (who, median) in enumerate(row["median"].items()):
            low, high = row["quartiles"][who]
            ratio = "–"
            if place:
                middle, least, most = row["speed_up"][who]
                ratio = f"{middle:.2f} ({least:.2f}–{most:.2f})"
            title = row["title"] if place == 0 else ""
            lines.append(f"| {title} | {who} | {median * 1e3:,.1f} ({low * 1e3:,.1f}–{high * 1e3:,.1f}) | {ratio} |")
    lines += ["", f"Installed size of the core, shipped data and weights included: {results['megabytes']:.1f} MB."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"which rows ({', '.join(ROWS)}); all by default")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender, at least 7")
    given = parser.parse_args()
    unknown = [row for row in given.rows if row not in ROWS]
    if unknown:
        parser.error(f"unknown row {unknown[0]!r}: choose from {', '.join(ROWS)}")
    rows = []
    for name in tqdm(given.rows or list(ROWS), desc="benchmarks"):
        torch.manual_seed(0)
        rows.append(measure(name, given.rounds))
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "rounds": given.rounds,
        "megabytes": parts.installed_size(),
        "rows": rows,
    }
    print(table(results))
    if not given.rows:  # a part of the table is a look, not a result
        write_text(HERE / "results.json", json.dumps(results, indent=1) + "\n")
        write_text(HERE / "results.md", table(results))


if __name__ == "__main__":
    main()

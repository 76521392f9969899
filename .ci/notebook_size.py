"""Refuse notebooks above 400 KiB: executed notebooks are kept in git, and each version stays in the history."""

import sys
from pathlib import Path

LIMIT = 400 * 1024


def main(names: list[str]) -> int:
    large = [(name, size) for name in names if (size := Path(name).stat().st_size) > LIMIT]
    for name, size in large:
        print(f"{name} has {size // 1024} KiB, more than 400: make its pictures smaller.", file=sys.stderr)
    return bool(large)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

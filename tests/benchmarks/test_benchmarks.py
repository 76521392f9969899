"""The benchmark's machinery: turns, ratios, the table; and that every row's contenders agree before they race."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import parts
import run
from timing import Timing, race, speed_up


def test_contenders_take_turns() -> None:
    order: list[str] = []
    timings = race({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=7, warm_up=1)
    assert order == ["a", "b"] * 8
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 7, "b": 7}


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rounds say too little about the spread: use at least 7"):
        race({"a": lambda: None}, rounds=3)


def test_speed_up_is_the_ratio_round_by_round() -> None:
    ours, rival = Timing((1.0, 10.0, 1.0, 2.0)), Timing((2.0, 20.0, 2.0, 4.0))
    assert speed_up(ours, rival) == (2.0, 2.0, 2.0)


def test_the_table_names_machine_versions_date_and_every_contender() -> None:
    row = {
        "row": "x", "title": "a thing", "ours": "tinyvlm", "rounds": 7,
        "median": {"tinyvlm": 0.001, "peer": 0.002},
        "quartiles": {"tinyvlm": (0.0009, 0.0011), "peer": (0.0018, 0.0022)},
        "speed_up": {"peer": (2.0, 1.9, 2.1)},
    }  # fmt: skip
    results = {"date": "2026-01-02", "machine": "a machine", "versions": "torch 2", "rounds": 7, "megabytes": 5.0}
    text = run.table({**results, "rows": [row]})
    for part in (
        "2026-01-02",
        "a machine",
        "torch 2",
        "7 rounds",
        "| tinyvlm |",
        "| peer |",
        "2.00 (1.90–2.10)",
        "5.0 MB",
    ):
        assert part in text, part


@pytest.mark.parametrize("make", [parts.recall, parts.momentum], ids=["recall", "ema"])
def test_contenders_run(make) -> None:
    title, contenders = make(50) if make is parts.recall else make()
    assert title and len(contenders) == 2
    for contender in contenders.values():
        contender()


def test_the_row_of_batches_and_steps_runs() -> None:
    title, contenders = parts.batch(8)
    assert "8 scenes" in title and list(contenders) == ["tinyvlm (batch)", "step"]
    for contender in contenders.values():
        contender()

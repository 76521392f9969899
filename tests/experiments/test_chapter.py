"""A chapter's shared cells: what they show, what they note in the receipt, and that nothing else happens."""

import inspect
import json
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tinyvlm import zoo
from tinyvlm.experiments import chapter, week05
from tinyvlm.metrics.contrasts import Contrast
from tinyvlm.training.history import History, Record
from tinyvlm.training.receipts import Receipt

WEEK = ModuleType("tinyvlm.experiments.week77")
WEEK.ARMS = {"method": 1, "baseline": 2, "never run": 3}

ROW = {
    "id": "better",
    "statement": "The method beats its baseline.",
    "kind": "headline",
    "metric": "score",
    "arms": ["method", "baseline"],
    "margin": 0.05,
    "seeds": [0, 1, 2],
    "per_seed": {"method": [0.9, 0.8, 0.7], "baseline": [0.5, 0.5, 0.5]},
    "difference": [0.4, 0.3, 0.2],
    "quantity": "difference",
    "interval": [0.0516, 0.5484],
    "verdict": "held",
    "state": "verified",
}
ONE_SEED = ROW | {
    "id": "other",
    "kind": "direction",
    "seeds": [0],
    "per_seed": {"method": [0.9], "baseline": [0.5]},
    "difference": [0.4],
    "interval": None,
    "verdict": "not tested",
}
NO_SEED = ONE_SEED | {"id": "third", "seeds": [], "per_seed": {"method": []}, "difference": [], "state": None}
RUNS = {
    "method": {
        seed: {"metrics": {"score": score, "towers: score": 0.5, "a": score, "b": 1.0}, "state": "verified"}
        for seed, score in enumerate((0.9, 0.8, 0.7))
    },
    "baseline": {0: {"metrics": {"score": 0.5, "hidden": 0.1}, "state": "changed"}},
}


class Notes:
    """A receipt that remembers what was noted."""

    def __init__(self, preset="cpu"):
        self.claims, self.metrics, self.closed = [], {}, 0
        self.preset = preset

    def claim(self, rows):
        self.claims += rows

    def metric(self, name, value, **beside):
        self.metrics[name] = (value, beside)

    def finish(self):
        self.closed += 1
        return {"preset": self.preset, "size": "micro", "device": "a CPU", "seconds": 61.4, "peak_memory_mb": 1234.5}


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, in order: the text of bundles, the alt text of figures."""
    display = pytest.importorskip("IPython.display", reason="cells are shown by IPython")
    seen = []
    monkeypatch.setattr(display, "display", lambda what, raw=False: seen.append(what))
    monkeypatch.setattr(chapter.viz, "show", lambda figure: seen.append(figure.alt_text))
    return seen


@pytest.fixture
def asked(monkeypatch):
    """Stored runs and claims from memory; returns the presets that were asked for."""
    presets = []

    def rows(week, folder=None, preset=None):
        presets.append(preset)
        return [ONE_SEED, NO_SEED, ROW] if week is WEEK else [ROW | {"id": "swaps"}]

    def runs(week, folder=None, preset=None):
        presets.append(preset)
        return RUNS

    monkeypatch.setattr(chapter.claims, "claim_results", rows)
    monkeypatch.setattr(chapter.claims, "arm_results", runs)
    return presets


def test_a_chapter_starts_with_preset_budget_and_receipt(monkeypatch):
    monkeypatch.setenv("TINYVLM_PRESET", "smoke")
    preset, budget, receipt = chapter.start("week05_albef.ipynb", seed=3)
    assert preset == "smoke" and budget == week05.budget("smoke") and isinstance(receipt, Receipt)


def test_the_receipt_gets_week_notebook_preset_size_and_seed_from_one_name(monkeypatch):
    monkeypatch.setattr(chapter, "Receipt", lambda *given: given)
    monkeypatch.setattr(chapter, "import_module", lambda name: SimpleNamespace(budget=lambda preset: (name, preset)))
    name, budget, receipt = chapter.start("week07_vlmo.ipynb", seed=2, preset="gpu")
    assert budget == ("tinyvlm.experiments.week07", "gpu")
    assert receipt == (7, "week07_vlmo.ipynb", "gpu", "no model", 2) and name == "gpu"


def test_a_notebook_without_its_week_in_the_name_is_refused():
    with pytest.raises(ValueError, match=r"'albef.ipynb': name it weekNN_name.ipynb"):
        chapter.start("albef.ipynb")


@pytest.mark.parametrize(("preset", "expected"), [("smoke", "cpu"), ("cpu", "cpu"), ("gpu", "gpu")])
def test_smoke_shows_the_stored_runs_of_cpu(preset, expected, asked, shown):
    chapter.show_claims(WEEK, Notes(), preset=preset)
    chapter.arms_table(WEEK, ["score"], {}, preset=preset)
    assert set(asked) == {expected} and chapter.stored(preset) == expected


def test_claims_are_shown_headline_first_and_noted(asked, shown):
    notes = Notes()
    rows = chapter.show_claims(WEEK, notes, preset="cpu")
    assert [row["id"] for row in rows] == ["better", "other", "third"] and notes.claims == rows
    headline, plot, one, none = shown
    said = "**Headline: held** (3 seeds, loaded, of verified code). The method beats its baseline."
    assert headline["text/markdown"].startswith(said + "\n\n| score | mean |")
    assert "| method | 0.800 | 0.700–0.900 | 3 | 0, 1, 2 |" in headline["text/markdown"]
    assert headline["text/plain"].startswith(said) and "|" not in headline["text/plain"]
    assert "method 0.9, 0.8, 0.7 (mean 0.8)" in plot and "held" in plot
    assert one["text/markdown"].startswith("**Direction: not tested** (1 seed, loaded")
    assert "| method | 0.900 | – | 1 | 0 |" in one["text/markdown"]
    text = "**Direction: not tested** (no stored runs). The method beats its baseline."
    assert none == {"text/markdown": text, "text/plain": text}


def test_the_difference_stands_with_its_interval_and_what_it_has_to_exceed():
    assert chapter.claim_table(ROW).rows[-1] == (
        "*difference, to exceed 0.05*",
        "0.300",
        "95 % interval 0.052 to 0.548",
        "3",
        "0, 1, 2",
    )
    assert chapter.claim_table(ONE_SEED).rows[-1][2] == "–"
    alone = ROW | {"arms": ["method"], "per_seed": {"method": [0.9, 0.8, 0.7]}, "quantity": "value"}
    assert chapter.claim_table(alone).rows[-1][0] == "*value, to exceed 0.05*"


def test_a_claim_about_several_metrics_has_a_difference_and_no_plot(monkeypatch, shown):
    several = ROW | {"per_seed": {"method": [], "baseline": []}}
    monkeypatch.setattr(chapter.claims, "claim_results", lambda week, preset: [several])
    chapter.show_claims(WEEK, Notes(), preset="cpu")
    (text,) = shown
    assert "| method | – | – | – | – |" in text["text/markdown"] and "| 0.300 |" in text["text/markdown"]


def test_a_live_run_is_held_against_the_stored_one_and_both_are_told(asked, shown, monkeypatch):
    given = []

    def with_live(week, rows, live, seed, preset):
        given.append((live, seed, preset))
        told = {"seed": seed, "arms": ["method"], "difference": 0.1, "interval": [-0.2, 0.6]}
        told |= {"verdict": "undecided", "stored": "held"}
        return [rows[0] | {"verdict": "undecided", "live": told}, *rows[1:]]

    monkeypatch.setattr(chapter.claims, "with_live", with_live)
    notes, live = Notes(), {"method": {"score": 0.6}}
    chapter.show_claims(WEEK, notes, preset="smoke", live=live)
    assert given == [] and "live" not in notes.claims[0]  # a smoke run says nothing
    shown.clear()
    chapter.show_claims(WEEK, notes, preset="cpu", live=live, seed=1)
    assert given == [(live, 1, "cpu")] and notes.claims[3]["verdict"] == "undecided"
    assert shown[0]["text/markdown"].startswith(
        "**Headline: undecided** (3 seeds, loaded, of verified code). The method beats its baseline. "
        "The live run of seed 1 gives 0.100, the stored one 0.300. "
        "With the live run: undecided, 95 % interval -0.200 to 0.600. With the stored one: held."
    )
    assert shown[1].endswith("against a margin of 0.05: undecided.")


def test_claims_of_other_weeks_stand_behind_and_are_not_noted(asked, shown):
    notes = Notes()
    rows = chapter.show_claims(WEEK, notes, also=[(3, "swaps")], preset="cpu")
    assert [row["id"] for row in rows] == ["better", "other", "third", "swaps"]
    assert [row["id"] for row in notes.claims] == ["better", "other", "third"]
    assert shown[-2]["text/markdown"].startswith("**Headline of week 3: held**")
    with pytest.raises(ValueError, match="Week 3 has no claim 'binding': choose one of swaps"):
        chapter.show_claims(WEEK, notes, also=[(3, "binding")], preset="cpu")


def test_arms_have_a_live_row_and_a_loaded_one(asked):
    found = chapter.arms_table(WEEK, ["score", "hidden"], {"method": {"score": 0.85}}, seed=4, preset="smoke")
    assert found.columns == ("run", "score", "hidden", "seeds")
    assert found.rows == (
        ("method, seed 4, **live** (smoke)", "0.850", "–", "1"),
        ("method, loaded", "0.800<br>0.700–0.900", "–", "3"),
        ("baseline, loaded", "0.500", "0.100", "1"),
    )


def test_arms_are_chosen_metrics_have_a_prefix_and_columns_may_be_functions(asked):
    towers = chapter.arms_table(WEEK, ["score"], {}, prefix="towers: ", arms=["method"], preset="cpu")
    assert (towers.columns, towers.rows) == (
        ("towers", "score", "seeds"),
        (("method, loaded", "0.500<br>0.500–0.500", "3"),),
    )
    worse = chapter.arms_table(WEEK, {"worse": lambda m: min(m["a"], m["b"])}, {}, preset="cpu")
    assert [row[1] for row in worse.rows] == ["0.800<br>0.700–0.900", "–"]


def test_what_was_never_trained_is_no_result(asked):
    found = chapter.arms_table(WEEK, ["score"], {"method": {"score": 1.0}}, untrained={"score": ["method"]})
    assert [row[1] for row in found.rows] == ["–", "–", "0.500"]


def test_stored_changes_are_means_over_seeds_or_nothing(asked):
    own = {"score": Contrast(0.6, 100), "a": Contrast(0.5, 50)}
    row = chapter.stored_changes(WEEK, "method", own, preset="cpu")
    assert {name: (round(cell.value, 6), cell.n) for name, cell in row.items()} == {"score": (0.8, 100), "a": (0.8, 50)}
    assert row.seeds == 3
    none = chapter.stored_changes(WEEK, "never run", own, preset="cpu")
    assert none == {} and none.seeds == 0


def test_a_noted_row_is_the_mean_of_stored_runs_or_the_live_run(asked):
    own, receipt = {"score": Contrast(0.6, 100)}, Receipt(77, "week77_toy.ipynb", "cpu", "micro", 0)
    for name, arm in (("stored", "method"), ("live", "never run")):
        chapter.note_changes(receipt, name, WEEK, arm, own, budget="1–2 objects", preset="cpu")
    rows = receipt.finish()
    assert rows["single_changes"]["stored"]["score"] == {"value": pytest.approx(0.8), "n": 100}
    assert rows["single_changes"]["live"]["score"] == {"value": 0.6, "n": 100}
    assert [rows["single_change_runs"][name]["seeds"] for name in ("stored", "live")] == [3, 1]
    assert rows["single_change_runs"]["live"]["budget"] == "1–2 objects"


def test_source_is_one_highlighted_text_of_all_objects(shown):
    chapter.source(Notes.claim, chapter.stored)
    (code,) = shown
    assert code.data.startswith("def claim(self, rows):\n    self.claims += rows\n\n\ndef stored(")
    assert code.data.endswith(inspect.getsource(chapter.stored).rstrip() + "\n")
    assert "<style>" in code._repr_html_() and code._repr_latex_()


def test_a_stored_notebook_keeps_the_style_of_source_once(shown):
    from coursekit.runner import _slimmed

    chapter.source(chapter.stored)
    chapter.source(chapter.start)
    outputs = [
        {"data": {"text/html": code._repr_html_(), "text/latex": code._repr_latex_(), "text/plain": code.data}}
        for code in shown
    ]
    _slimmed(outputs)
    assert [("<style>" in json.dumps(o), "text/latex" in o["data"]) for o in outputs] == [(True, False), (False, False)]


def history(seconds):
    return History(records=[Record("s", 1, 0.5, {"loss": 0.5})], seconds=seconds, samples=100)


def test_the_last_cell_notes_what_training_cost_and_says_one_line(capsys):
    notes = Notes()
    paper = chapter.finish(notes, history(10.0), baseline=history(20.0))
    assert notes.metrics == {
        "training samples per second": (10.0, {"baseline": 5.0}),
        "training seconds": (10.0, {"baseline": 20.0, "higher_is_better": False}),
    }
    assert notes.closed == 1 and paper["size"] == "micro"
    assert capsys.readouterr().out == "cpu run on a CPU: 61 s, peak memory 1,234 MB\n"


def test_a_chapter_without_training_notes_no_seconds():
    notes = Notes()
    chapter.finish(notes)
    assert notes.metrics == {} and notes.closed == 1


@pytest.mark.parametrize(("preset", "offered"), [("smoke", []), ("cpu", ["albef-micro"])])
def test_a_model_is_left_for_the_zoo_unless_it_is_a_trial(preset, offered, monkeypatch):
    left = []
    monkeypatch.setattr(zoo, "offer", lambda name, model, paper: left.append(name))
    chapter.finish(Notes(preset), history(1.0), object(), "albef")
    assert left == offered


def test_chapters_load_without_a_notebook():
    code = "import sys; sys.modules['IPython'] = None; import tinyvlm.experiments.chapter"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0

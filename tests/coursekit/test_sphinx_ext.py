"""What the extension makes of course.yml and receipts: tables, cards, generated pages."""

import json
import re

import pytest
from jinja2 import UndefinedError

from coursekit.html import day, number, render
from coursekit.load import load_course
from coursekit.receipts import LABELS, Proof, duration, proof
from coursekit.sphinx_ext.cards import Site, mark_solutions
from coursekit.sphinx_ext.directives import red_thread
from coursekit.sphinx_ext.pages import write_pages
from tinyvlm.training.fingerprint import notebook_code
from tinyvlm.training.receipts import Standing

CLAIM = {
    "id": "binding", "kind": "headline", "statement": "It retrieves & cannot <bind>.", "metric": "accuracy",
    "arms": ["a"], "seeds": [0, 1], "per_seed": {"swapped": [0.5, 0.52]}, "difference": [0.4, 0.41],
    "interval": [0.31, 0.5], "margin": 0.2, "verdict": "not held at this scale",
}  # fmt: skip


def test_red_thread_has_a_row_a_model_and_the_columns_of_the_data(course):
    values = {"object": {"value": 0.9, "n": 512}, "objects swapped": {"value": 0.51, "n": 400}}
    data = {"single_changes": {"CLIP": values, "CLIP with swaps": values}}
    table = red_thread([Proof(course.week(3), Standing("changed", ("models.clip",)), data)])
    assert table["changes"] == ["object", "objects swapped"]
    html = render("red_thread", link=lambda page: f"{page}.html", **table)
    assert html.count("<tr>") == 3 and 'href="notebooks/week03_clip.html"' in html
    assert html.count('<td class="score-high" title="512 scenes">0.90</td>') == 2
    assert html.count('<td class="score-low" title="400 scenes">0.51</td>') == 2
    assert "week 3, code has changed since" in html


def test_red_thread_names_seeds_and_budget_where_the_receipt_has_them(course):
    values = {"count": {"value": 0.9, "n": 512}}
    data = {
        "single_changes": {"CLIP": values, "one": values, "old": values},
        "single_change_runs": {
            "CLIP": {"seeds": 3, "budget": "1–2 objects, 700 updates"}, "one": {"seeds": 1, "budget": ""}
        },
    }  # fmt: skip
    table = red_thread([Proof(course.week(3), Standing("this"), data)])
    assert table["changes"] == ["count"]
    html = render("red_thread", link=str, **table)
    assert '<th scope="col">one object left out</th>' in html and ">count<" not in html
    assert ">week 3, 3 seeds, 1–2 objects, 700 updates<" in html
    assert ">week 3, 1 seed<" in html and ">week 3<" in html


def test_red_thread_without_receipts_says_so():
    html = render("red_thread", link=str, **red_thread([]))
    assert "No model has filled this table yet" in html and "<table" not in html


@pytest.mark.parametrize("state", list(LABELS))
def test_header_card_shows_the_receipt_and_its_state(course, receipt, state):
    week = course.week(3)
    stand = Standing(state, () if state in ("this", "none") else ("models.clip",), "2026-02-03")
    shown = Proof(week, stand, {} if state == "none" else receipt)
    html = render("header", week=week, proof=shown, colab=course.colab(week), source="../_sources/x.ipynb")
    assert shown.explanation in html and f"state-{state}" in html and LABELS[state] in html
    assert ("verified since 3 February 2026" in html) == (state == "verified")
    assert ("has changed since: models.clip" in html) == (state == "changed")
    assert ("2 January 2026: 12 s, 300 MB" in html) == (state != "none")
    assert 'href="https://arxiv.org/abs/2103.00020"' in html and "26 February 2021" in html and "김희은" in html


def test_header_card_of_week_1_has_two_talks_and_background(course):
    html = render("header", week=course.week(1), proof=None, colab=None, source=None)
    assert html.count("data-talk=") == 2 and "Talk, part 2 of 2" in html
    assert "it appeared after the course began" in html
    assert "<iframe" not in html and "youtube-nocookie" not in html and "colab" not in html


def test_proof_shows_claims_with_their_seeds_escaped(course, receipt):
    html = render("proof", proof=Proof(course.week(3), Standing("this"), receipt | {"claims": [CLAIM]}))
    assert "It retrieves &amp; cannot &lt;bind&gt;." in html and "not held at this scale" in html
    assert [cell for cell in re.findall(r"<td>(.*?)</td>", html)][-4:] == ["0.500", "0.520", "0.400", "0.410"]
    assert "95 % interval of the value: 0.310 to 0.500; it had to lie above 0.200" in html
    assert ">difference<" not in html and "Paired" not in html  # one arm: nothing is paired


def test_proof_names_a_difference_a_live_run_and_what_one_seed_tests(course, receipt):
    arms = {"a": [0.9, 0.8], "b": [0.5, 0.5]}
    live = {"seed": 0, "arms": ["a"], "difference": -0.1, "interval": [-3.0, 3.2], "verdict": "undecided",
            "stored": "held"}  # fmt: skip
    compared = CLAIM | {"per_seed": arms, "quantity": "difference", "verdict": "undecided", "live": live}
    old = CLAIM | {"seeds": [0], "per_seed": {"a": [0.9], "b": [0.5]}, "difference": [0.4], "interval": None,
                   "verdict": "undecided"}  # fmt: skip
    html = render("proof", proof=Proof(course.week(3), Standing("this"), receipt | {"claims": [compared, old]}))
    assert "Paired 95 % interval of the difference: 0.310" in html and html.count(">difference<") == 2
    assert "The live run of seed 0 gives -0.100" in html and "undecided, interval -3.000 to 3.200" in html
    assert "With the stored one: held." in html
    assert re.findall(r'class="verdict verdict-undecided">([a-z ]+)<', html) == ["undecided", "not tested"]


def test_a_template_that_lacks_a_value_is_an_error(course):
    with pytest.raises(UndefinedError):
        render("status", course=course)


def test_states_of_a_receipt(repo, receipt):
    week = load_course(repo).week(3)
    assert proof(repo, load_course(repo).week(2)) is None
    assert proof(repo, week).state == "none"
    path = repo / week.receipt
    path.parent.mkdir()
    path.write_text(json.dumps(receipt | {"code": notebook_code(repo / week.notebook)}))
    assert proof(repo, week).state == "this"
    path.write_text(json.dumps(receipt))
    assert proof(repo, week).state == "changed" and proof(repo, week).names == "models.clip, notebook"


def test_many_changed_names_are_cut(course):
    names = Proof(course.week(3), Standing("changed", tuple(f"m{n}" for n in range(20))), {}).names
    assert names == "m0, m1, m2, m3, m4, m5, m6, m7 and 12 more"


def test_generated_pages_follow_the_course(repo, course):
    stale = repo / "book/_generated/week03.md"
    stale.parent.mkdir(parents=True)
    stale.write_text("from before the chapter was written")
    write_pages(Site(repo, course, {}))
    names = {path.name for path in stale.parent.glob("week*.md")}
    assert names == {f"week{n:02d}.md" for n in range(1, 15) if n != 3}
    text = (stale.parent / "week05.md").read_text(encoding="utf-8")
    assert text.startswith("# Week 5 · ALBEF\n") and "not written yet" in text
    assert "(/notebooks/week03_clip.ipynb)" in text


def test_solutions_are_folded_on_the_site_only():
    cells = [{"cell_type": "code", "source": "x", "metadata": {"tags": ["solution"]}},
             {"cell_type": "code", "source": "y", "metadata": {}}]  # fmt: skip
    source = [json.dumps({"cells": cells})]
    mark_solutions(None, "notebooks/week03_clip", source)
    first, second = json.loads(source[0])["cells"]
    assert first["metadata"]["tags"] == ["solution", "hide-cell"]
    assert first["metadata"]["mystnb"]["code_prompt_show"] == "Show the solution" and second["metadata"] == {}
    page = ["# A page"]
    mark_solutions(None, "book/index", page)
    assert page == ["# A page"]


@pytest.mark.parametrize(("value", "expected"), [("2023-04", "April 2023"), ("2021-02-26", "26 February 2021")])
def test_days(value, expected):
    assert day(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.97, "0.970"), (None, "–"), (12.345, "12.35"), (123456.0, "123,456"),
                                                 ("x", "x"), (1, "1.000")])  # fmt: skip
def test_numbers(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(42.4, "42 s"), (185, "3 min 05 s"), (4200, "1 h 10 min")])
def test_durations(value, expected):
    assert duration(value) == expected

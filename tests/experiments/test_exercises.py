"""Checks of exercises give verdicts, whatever a learner's code does."""

import pytest

from tinyvlm.experiments.exercises import Verdict, check


@check
def doubles(function):
    """Doubles numbers."""
    assert function(2) == 4, "function(2) should be 4"


def unwritten(x):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("stub", "words"),
    [
        (unwritten, "nothing is written here yet"),
        (lambda x: 3, "function(2) should be 4"),
        (lambda x: x.missing, "it stops with AttributeError"),
        (lambda: None, "it stops with TypeError"),
        (None, "it stops with TypeError"),
    ],
)
def test_a_stub_fails_without_raising(stub, words):
    verdict = doubles(stub)
    assert not verdict.passed and not verdict and words in verdict.message


def test_a_solution_passes():
    assert doubles(lambda x: 2 * x) == Verdict(True) and doubles.__doc__ == "Doubles numbers."


def test_a_check_may_return_its_verdict_or_a_bool():
    assert check(lambda: Verdict(True, "well done"))().message == "well done"
    assert check(lambda: True)().passed and not check(lambda: False)().passed


def test_an_interrupt_is_no_verdict():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(stop)()


def test_it_is_shown_in_words_and_escaped():
    assert str(Verdict(True)) == "✓ Solved." and str(Verdict(False, "try <b>")) == "✗ Not yet: try <b>"
    page = Verdict(False, "try <b>")._repr_html_()
    assert "Not yet" in page and "&lt;b&gt;" in page and "<b>" not in page

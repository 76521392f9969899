"""The console script where only the core is installed."""

import sys

import pytest

from coursekit import entry


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "coursekit.cli", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"`course` needs typer, .* pip install 'tinyvlm\[site\]'"):
        entry.main()


def test_it_runs_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["course", "--help"])
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 0 and "claims" in capsys.readouterr().out

"""Weights from the Hub, with the network replaced: where they are looked for, in which order."""

from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from tinyvlm.models import CLIP
from tinyvlm.models.base import CONFIG


@pytest.fixture
def saved(tmp_path: Path) -> tuple[CLIP, Path]:
    model = CLIP.named("micro")
    return model, model.save_pretrained(tmp_path / "whole")


def serve(monkeypatch: pytest.MonkeyPatch, revisions: dict[str | None, Path], requests: list[SimpleNamespace]) -> list:
    asked: list[str | None] = []

    def snapshot_download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert not any("bin" in pattern for pattern in allow_patterns), "a pickle must never be fetched"
        asked.append(revision)
        return str(revisions[revision])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    api = SimpleNamespace(get_repo_discussions=lambda name, author, discussion_type: iter(requests))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    return asked


def request(title: str, status: str = "open") -> SimpleNamespace:
    return SimpleNamespace(title=title, status=status, git_reference="refs/pr/7")


def test_weights_on_the_main_branch_need_no_second_look(saved, monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder = saved
    asked = serve(monkeypatch, {None: folder}, [])
    loaded = CLIP.from_pretrained("someone/clip")
    assert asked == [None]
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_a_pickled_repository_is_read_from_the_converters_branch(saved, tmp_path, monkeypatch) -> None:
    _, folder = saved
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / CONFIG).write_text((folder / CONFIG).read_text())
    pulls = [request("Fix a typo"), request("Adding `safetensors` variant of this model")]
    asked = serve(monkeypatch, {None: bare, "refs/pr/7": folder}, pulls)
    assert CLIP.from_pretrained("someone/clip").count() == CLIP.named("micro").count()
    assert asked == [None, "refs/pr/7"]


def test_without_a_conversion_one_sentence_says_what_to_do(saved, tmp_path, monkeypatch) -> None:
    _, folder = saved
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / CONFIG).write_text((folder / CONFIG).read_text())
    serve(monkeypatch, {None: bare}, [request("Adding `safetensors` variant of this model", "closed")])
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors; this course never unpickles"):
        CLIP.from_pretrained("someone/clip")

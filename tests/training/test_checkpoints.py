"""Checkpoints: whole or not there, refused when damaged or foreign, and errors of the disk in one sentence."""

import errno
import json
import os
from dataclasses import replace

import pytest
import torch
from toy_task import Toy, source, stages, weights

from tinyvlm.training import Optimiser, Stage, fit
from tinyvlm.training.checkpoints import Checkpoints, first_difference


def quiet(task, plan, folder, **options):
    return fit(task, plan, folder=folder, progress=None, device="cpu", **options)


def contents(folder):
    """Every file below `folder` with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def sentence(error):
    """The message, which must be one sentence."""
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    return text


def test_tensors_and_state_come_back_and_only_the_newest_stay(tmp_path):
    store = Checkpoints(tmp_path, {"seed": 1}, keep=2)
    store.prepare()
    tied = torch.randn(3, 4)
    for step in (5, 10, 15):
        store.save({"a": tied, "b": tied, "c": torch.tensor(step)}, {"note": step}, step)
    assert [path.name for path in store.all()] == ["0002-step-10", "0003-step-15"]
    tensors, state = store.load()
    assert torch.equal(tensors["a"], tied) and torch.equal(tensors["b"], tied) and tensors["c"].item() == 15
    assert state["note"] == 15 and state["step"] == 15
    assert sorted(path.name for path in store.latest().iterdir()) == ["state.json", "tensors.safetensors"]


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "adafactor"])
def test_a_run_in_parts_equals_a_run_in_one(optimiser, tmp_path):
    plan = Stage("s", 10, source(), optimisers=(Optimiser(optimiser, lr=0.02),))
    whole, parts = Toy(drop=0.2), Toy(drop=0.2)
    expected = quiet(whole, plan, tmp_path / "whole")

    def stop(done, total):
        if done in (3, 7):
            raise KeyboardInterrupt

    for seed in (0, 98, 99):
        parts = Toy(seed=seed, drop=0.2)  # other weights later: all must come from the checkpoint
        history = quiet(parts, plan, tmp_path / "parts", on_step=stop)
    assert history.loss == expected.loss and history.samples == expected.samples
    assert all(torch.equal(a, b) for a, b in zip(weights(parts).values(), weights(whole).values(), strict=True))


def test_a_finished_run_is_loaded_not_repeated(tmp_path):
    first, again = Toy(), Toy(seed=5)
    done = quiet(first, stages(), tmp_path)
    loaded = quiet(again, stages(), tmp_path)
    assert again.calls == [] and loaded.loss == done.loss
    assert torch.equal(first.model.head.weight, again.model.head.weight)


def test_starting_over_replaces_the_old_run_once_the_new_one_has_a_checkpoint(tmp_path):
    quiet(Toy(), stages(), tmp_path)
    longer = stages(24)
    before = [path.name for path in Checkpoints(tmp_path, {}).all()]

    def stop(done, total):
        if done == 1:
            raise SystemError("killed before the first checkpoint")

    with pytest.raises(SystemError):
        quiet(Toy(), longer, tmp_path, resume=False, save_every=4, on_step=stop)
    assert [path.name for path in Checkpoints(tmp_path, {}).all()] == before
    history = quiet(Toy(), longer, tmp_path, resume=False, save_every=4)
    assert history.steps == 24 and Checkpoints(tmp_path, {}).latest().name.endswith("step-24")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 24


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"plan": stages(24)}, "stages[0].steps is 4 there and 8 here"),
        ({"plan": [stages()[0], replace(stages()[1], clip=None)]}, "stages[1].clip is 1.0 there and None here"),
        ({"seed": 3}, "seed is 0 there and 3 here"),
        ({"task": "Other"}, "task is 'Toy' there and 'Other' here"),
    ],
)
def test_a_foreign_checkpoint_is_refused_and_stays(change, words, tmp_path):
    quiet(Toy(), stages(), tmp_path)
    before = contents(tmp_path)
    task = type(change.get("task", "Toy"), (Toy,), {})()
    with pytest.raises(ValueError) as error:
        quiet(task, change.get("plan", stages()), tmp_path, seed=change.get("seed", 0))
    text = sentence(error)
    assert words in text and "resume=False" in text and "-step-12 belongs to another run" in text
    assert contents(tmp_path) == before


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["truncated", "missing", "rubbish", "empty"])
def test_a_damaged_checkpoint_is_named_and_nothing_is_changed(file, how, tmp_path):
    quiet(Toy(), stages(), tmp_path)
    newest = Checkpoints(tmp_path, {}).latest()
    path = newest / file
    if how == "missing":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes({"truncated": data[: len(data) // 2], "rubbish": b"\x00PK[1]" * 9, "empty": b""}[how])
    before = contents(tmp_path)
    task = Toy()
    start = weights(task)
    with pytest.raises(ValueError) as error:
        quiet(task, stages(), tmp_path)
    text = sentence(error)
    assert str(newest) in text and "damaged" in text and "delete this folder" in text
    assert contents(tmp_path) == before
    assert all(torch.equal(a, b) for a, b in zip(start.values(), weights(task).values(), strict=True))


def test_a_later_format_is_refused(tmp_path):
    quiet(Toy(), stages(), tmp_path)
    path = Checkpoints(tmp_path, {}).latest() / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(ValueError, match=r"format 2 where this version reads 1: .*resume=False"):
        quiet(Toy(), stages(), tmp_path)


def test_a_folder_that_cannot_be_written_is_named_before_the_first_step(tmp_path):
    """Root may write anywhere, so the folder lies below a file, where nobody can."""
    (tmp_path / "file").write_text("mine")
    task = Toy()
    with pytest.raises(NotADirectoryError) as error:
        quiet(task, stages(), tmp_path / "file" / "run")
    text = sentence(error)
    assert str(tmp_path / "file" / "run") in text and "choose a folder that can be written" in text
    assert task.calls == [] and (tmp_path / "file").read_text() == "mine"


def test_a_read_only_folder_is_named_before_the_first_step(tmp_path, monkeypatch):
    quiet(Toy(), stages(), tmp_path)
    before = contents(tmp_path)

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    task = Toy()
    with pytest.raises(OSError) as error:
        quiet(task, stages(), tmp_path)
    assert "read-only file system" in sentence(error) and task.calls == [] and contents(tmp_path) == before


@pytest.mark.parametrize("where", ["safetensors", "json", "fsync", "rename"])
def test_a_full_disk_stops_with_the_last_good_checkpoint_in_place(where, tmp_path, monkeypatch):
    import safetensors.torch

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    before = {}

    def fill(done, total):
        if done == 5:
            before.update({k: v for k, v in contents(tmp_path).items() if k != "log.jsonl"})
            name = {
                "safetensors": (safetensors.torch, "save_file"),
                "json": (type(tmp_path), "write_text"),
                "fsync": (os, "fsync"),
                "rename": (os, "rename"),
            }[where]

            def refuse(*args, **kwargs):
                if where == "safetensors":  # half of it is written
                    args[1].write_bytes(b"half")
                raise full

            monkeypatch.setattr(*name, refuse)

    with pytest.raises(OSError) as error:
        quiet(Toy(), stages(), tmp_path, save_every=4, on_step=fill)
    monkeypatch.undo()
    text = sentence(error)
    assert "Checkpoint at step 8" in text and "no space left on device" in text and "MB" in text
    assert "free space" in text and "0001-step-4" in text
    assert {k: v for k, v in contents(tmp_path).items() if k != "log.jsonl"} == before
    history = quiet(Toy(), stages(), tmp_path, save_every=4)
    assert history.steps == 12


def test_the_log_holds_one_line_a_step_and_a_torn_one_is_mended(tmp_path):
    def stop(done, total):
        if done == 6:
            raise KeyboardInterrupt

    quiet(Toy(), stages(), tmp_path, on_step=stop)
    log = tmp_path / "log.jsonl"
    with log.open("a") as file:
        file.write('{"stage": "all", "step": 3, "lo')
    history = quiet(Toy(), stages(), tmp_path)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [("head", i) for i in range(1, 5)] + [
        ("all", i) for i in range(1, 9)
    ]
    assert [row["loss"] for row in rows] == history.loss
    assert history.losses["regression"] == [row["losses"]["regression"] for row in rows]


def test_first_difference_names_the_place():
    assert first_difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) == ""
    assert first_difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == "a[1].b is 2 there and 3 here"
    assert first_difference({"a": 1, "b": 2}, {"a": 1}) == "b is 2 there and None here"
    assert first_difference(None, {"a": 1}).startswith("settings is None there")


def test_keep_must_leave_one(tmp_path):
    with pytest.raises(ValueError, match="keep=0"):
        quiet(Toy(), stages(), tmp_path, keep=0)

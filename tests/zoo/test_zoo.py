"""The zoo loads what it lists, says where it comes from, and is only offered models by a run of a chapter."""

import json

import pytest
import torch

from tinyvlm import zoo
from tinyvlm.experiments import scores, worlds
from tinyvlm.experiments.measure import retrieval
from tinyvlm.models import CLIP

RECEIPT = {
    "week": 3, "preset": "cpu", "size": "micro", "seed": 0, "date": "2023-03-18", "device": "CPU",
    "code": {"notebook": "abc"}, "metrics": {"image to text R@1": {"value": 0.5}}, "canary": {},
}  # fmt: skip


def test_an_unknown_name_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match="the zoo has no 'clap'; it has "):
        zoo.load("clap")


def test_nothing_is_written_outside_a_chapter_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(zoo.VARIABLE, raising=False)
    assert zoo.offer("clip-micro", CLIP.named("micro"), RECEIPT) is None


def test_an_offer_is_half_precision_and_loads_back(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(zoo.VARIABLE, str(tmp_path))
    model = CLIP.named("micro")
    folder = zoo.offer("clip-test", model, RECEIPT)
    assert folder == tmp_path / "clip-test"
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    assert zoo.names() == ["clip-test"]
    loaded = zoo.load("clip-test")
    assert isinstance(loaded, CLIP) and not loaded.training
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[name].half().float()), name
    assert (folder / "model.safetensors").stat().st_size < 2.1 * model.count() + 20_000
    kept = zoo.provenance("clip-test")
    assert kept["code"] == {"notebook": "abc"} and kept["metrics"] == RECEIPT["metrics"] and "canary" not in kept


@pytest.mark.parametrize("name", zoo.names())
def test_every_entry_names_its_run(name: str) -> None:
    kept = zoo.provenance(name)
    assert kept["preset"] in ("cpu", "gpu") and (kept.get("code") or kept.get("fingerprint")) and kept["metrics"]
    assert json.dumps(kept)


def test_the_trained_clip_still_retrieves() -> None:
    """Weights, tokenizer and renderer fit each other: R@1 among 128 unseen scenes, chance below 0.01."""
    clip = zoo.load("clip-micro")
    assert isinstance(clip, CLIP)
    found = retrieval(scores.cosines(clip), worlds.world("val", 0, 48, worlds.FULL), scenes=128)
    assert min(found["image to text R@1"], found["text to image R@1"]) > 0.9, found

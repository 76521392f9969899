"""The zoo loads what it lists, says where it comes from, and is only offered models by a run of a chapter."""

import json

import pytest
import torch

from tinyvlm import zoo
from tinyvlm.data.questions import Questions
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.world import World
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


def test_an_offer_takes_eight_bits_a_weight_and_loads_back(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(zoo.VARIABLE, str(tmp_path))
    model = CLIP.named("micro")
    folder = zoo.offer("clip-test", model, RECEIPT)
    assert folder == tmp_path / "clip-test"
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    assert zoo.names() == ["clip-test"]
    loaded = zoo.load("clip-test")
    assert isinstance(loaded, CLIP) and not loaded.training
    ids = torch.tensor([[4, *load_tokenizer().ids("the fox on red top left over cream"), 5]])
    image = torch.randn(4, 3, 48, 48)
    with torch.no_grad():
        for method, value in (("encode_text", ids), ("encode_image", image)):
            near = torch.cosine_similarity(getattr(loaded, method)(value), getattr(model.eval(), method)(value))
            assert near.min() > 0.999, (method, near)
    assert (folder / "model.safetensors").stat().st_size < 0.8 * model.count()
    kept = zoo.provenance("clip-test")
    assert kept["code"] == {"notebook": "abc"} and kept["metrics"] == RECEIPT["metrics"] and "canary" not in kept


def test_an_entry_keeps_the_words_of_every_english_sentence() -> None:
    kept, tokenizer = set(zoo.english()), load_tokenizer()
    for view in (World("val", spec=worlds.FULL), Questions("val", spec=worlds.FULL)):
        ids = view.batch(range(256))["text"]
        assert set(ids.flatten().tolist()) <= kept
    assert tokenizer.ids("여우")[0] not in kept and len(kept) < 1024


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

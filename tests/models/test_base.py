"""Saving, loading and sharing: whole round trips, and one sentence for whatever can be wrong."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from tinyvlm import files
from tinyvlm.encoders import TextConfig, VisionConfig
from tinyvlm.models import CLIP, CLIPConfig, ViT, ViTConfig

TOWER = VisionConfig(image_size=8, patch=4, width=8, layers=1, heads=2, hidden=12, eps=1e-3, activation="relu")
TEXT = TextConfig(vocabulary=11, context=5, width=8, layers=1, heads=2, hidden=12)
MODELS = {
    "ViT": lambda: ViT(ViTConfig(tower=TOWER, classes=3)),
    "headless ViT": lambda: ViT(ViTConfig(tower=TOWER, classes=0, representation=5, pool="mean")),
    "CLIP": lambda: CLIP(CLIPConfig(vision=TOWER, text=TEXT, embedding=6, end_id=4)),
}


@pytest.fixture
def saved(tmp_path) -> Path:
    return MODELS["ViT"]().save_pretrained(tmp_path / "vit")


def edit(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_a_round_trip_keeps_every_bit(make, tmp_path):
    model = make()
    for parameter in model.parameters():
        parameter.data.normal_()
    folder = model.save_pretrained(tmp_path / "new" / "folder")
    again = type(model).from_pretrained(str(folder))
    assert type(again) is type(model) and again.config == model.config
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    assert not again.training and all(parameter.requires_grad for parameter in again.parameters())
    assert all(not parameter.is_meta for parameter in again.parameters())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_half_precision_files_are_read_as_float32(saved):
    half = {name: value.half() for name, value in weights(saved).items()}
    save_file(half, saved / "model.safetensors")
    model = ViT.from_pretrained(saved)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert all(torch.equal(value, half[name].float()) for name, value in model.state_dict().items())


def test_a_loaded_model_can_be_trained_and_saved_over_its_own_files(saved):
    model = ViT.from_pretrained(saved)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model.save_pretrained(saved)
    again = ViT.from_pretrained(saved).state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_an_unknown_size_lists_the_known():
    with pytest.raises(ValueError, match=r"ViTConfig: unknown size 'giant'; choose from micro, small, .*H/14"):
        ViT.named("giant")
    with pytest.raises(ValueError, match=r"CLIPConfig: unknown size 'RN50'; choose from .*ViT-L/14@336"):
        CLIP.named("RN50")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short(saved, share):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or cut short .*; fetch or save"):
        ViT.from_pretrained(saved)


def test_a_foreign_model_type(saved):
    edit(saved, model_type="bert")
    with pytest.raises(ValueError, match="is of type 'bert'; ViT can load tinyvlm, vit: choose such a checkpoint"):
        ViT.from_pretrained(saved)
    (saved / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is of type 'unknown'"):
        ViT.from_pretrained(saved)


def test_another_papers_model(saved):
    with pytest.raises(ValueError, match="holds a ViT, not a CLIP; load it with that class"):
        CLIP.from_pretrained(saved)


def test_missing_unknown_and_misshaped_tensors_are_all_named(saved):
    state = weights(saved)
    del state["tower.norm.bias"]
    state["decoder.weight"] = torch.zeros(2)
    state["head.weight"] = torch.zeros(4, 8)
    save_file(state, saved / "model.safetensors")
    with pytest.raises(ValueError) as caught:
        ViT.from_pretrained(saved)
    message = str(caught.value)
    assert "does not fit ViT: it lacks tower.norm.bias; has unknown decoder.weight; has shapes" in message
    assert "head.weight [4, 8] instead of [3, 8]" in message


def test_many_problems_are_summed_up(saved):
    save_file({"x": torch.zeros(1)}, saved / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks \S+, \S+, \S+ and others; has unknown x\. Is it another model"):
        ViT.from_pretrained(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{not json", "is not JSON"),
        (b"", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[1, 2]", "holds no JSON object"),
        (b'{"model_type": "tinyvlm", "model": "ViT"}', "lacks the model's configuration"),
        (b'{"model_type": "tinyvlm", "model": "ViT", "config": {"depth": 3}}', "unknown field depth"),
    ],
)
def test_a_configuration_that_cannot_be_read(saved, content, message):
    (saved / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        ViT.from_pretrained(saved)


def test_missing_files_are_named(saved):
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors; this course never unpickles"):
        ViT.from_pretrained(saved)
    (saved / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json; point to a folder written by save_pretrained"):
        ViT.from_pretrained(saved)


def test_weights_in_several_files(saved):
    state = weights(saved)
    (saved / "model.safetensors").unlink()
    names = sorted(state)
    for part in range(2):
        save_file({name: state[name] for name in names[part::2]}, saved / f"model-{part + 1:05}-of-00002.safetensors")
    where = {name: f"model-{part + 1:05}-of-00002.safetensors" for part in range(2) for name in names[part::2]}
    (saved / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    # A stray file is no part of the checkpoint.
    save_file({names[0]: torch.zeros_like(state[names[0]])}, saved / "optimizer.safetensors")
    loaded = ViT.from_pretrained(saved).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in names)
    (saved / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model-00002-of-00002\.safetensors"):
        ViT.from_pretrained(saved)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"file/model\.safetensors cannot be written .*choose a folder"):
        MODELS["ViT"]().save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("written", [0, 1], ids=["at the weights", "at the configuration"])
def test_a_disk_that_fills_up_leaves_both_old_files(saved, monkeypatch, written):
    before, calls = contents(saved), []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match=r"written \(no space left on device\).*what was there before is unchanged"):
        ViT(ViTConfig(tower=TOWER.replace(hidden=20), classes=3)).save_pretrained(saved)
    assert contents(saved) == before


def test_a_real_limit_on_file_sizes_is_told_in_the_same_sentence(saved):
    before = contents(saved)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"model\.safetensors cannot be written \(.*ile too large.*free space"):
            MODELS["ViT"]().save_pretrained(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(saved) == before


@pytest.mark.parametrize("name", ["no-such/model-of-ours", "./no/such/folder", "/no/such/folder", "two words"])
def test_without_a_network_one_sentence_says_so(name):
    with pytest.raises(FileNotFoundError) as caught:
        ViT.from_pretrained(name)
    message = str(caught.value)
    assert name in message and "pass a folder written by save_pretrained, or go online once" in message
    assert "\n" not in message


def test_the_hub_that_does_not_answer_is_told_apart_from_one_that_refuses(monkeypatch):
    def unreachable(*_, **__):
        raise LocalEntryNotFoundError("nothing here")

    def refusing(*_, **__):
        raise OSError("disk quota")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(FileNotFoundError, match="a/b is not in the local cache and the Hub cannot be reached"):
        ViT.from_pretrained("a/b")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refusing)
    with pytest.raises(FileNotFoundError, match=r"the Hub does not give a/b \(OSError\)"):
        ViT.from_pretrained("a/b")


def test_a_hub_id_asks_for_safe_files_of_that_revision(saved, monkeypatch):
    asked = {}

    def download(name: str, **options) -> str:
        asked.update(options, name=name)
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = ViT.from_pretrained("group/model", revision="v2")
    assert model.config.tower == TOWER
    assert asked == {"name": "group/model", "revision": "v2", "allow_patterns": ["*.json", "*.safetensors"]}


def test_push_to_hub_uploads_weights_configuration_and_card(monkeypatch, tmp_path):
    calls = []

    class Api:
        def __init__(self, token=None):
            calls.append(("token", token))

        def create_repo(self, name, **options):
            calls.append(("create", name, options))

        def upload_folder(self, repo_id, folder_path):
            calls.append(("upload", repo_id))
            shutil.copytree(folder_path, tmp_path / "hub")
            return "https://hub/commit/1"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    model = MODELS["CLIP"]()
    assert model.push_to_hub("me/clip", private=True, token="t") == "https://hub/commit/1"
    assert calls == [("token", "t"), ("create", "me/clip", {"private": True, "exist_ok": True}), ("upload", "me/clip")]
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert (tmp_path / "hub" / "README.md").read_text() == model.model_card()
    assert CLIP.from_pretrained(tmp_path / "hub").config == model.config


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_the_card_tells_paper_size_and_configuration(make):
    model = make()
    card = model.model_card()
    assert f"{model.count():,} parameters" in card and f"arXiv {model.CARD.arxiv}" in card and model.CARD.paper in card
    assert card.startswith("---\n") and "library_name: tinyvlm" in card
    written = card.split("```json\n")[1].split("\n```")[0]
    assert type(model.config).from_dict(json.loads(written)) == model.config
    assert all(objective in card for objective in model.CARD.objectives)


UNCHECKED = """
import sys
import tempfile
import torch
from tinyvlm.encoders import normalise
from tinyvlm.layers import Residual
from tinyvlm.models import ViT
model = ViT.named("micro")
def sentence(call):
    try:
        call()
    except ValueError as error:
        print(str(error))
sentence(lambda: model(torch.zeros(1, 3, 48, 48, dtype=torch.uint8)))
sentence(lambda: model(torch.zeros(1, 3, 48, 40)))
sentence(lambda: model(torch.zeros(3, 48, 48)))
sentence(lambda: normalise(torch.zeros(1, 3, 8, 8)))
sentence(lambda: Residual(torch.nn.LayerNorm(2), torch.nn.Linear(2, 2), placement="sandwich"))
from tinyvlm.models import ALBEF, CLIP, PixelBERT
model, image = CLIP.named("micro"), torch.zeros(2, 3, 48, 48)
ids, mask = torch.tensor([[4, 9, 5, 0], [4, 9, 9, 5]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
sentence(lambda: model.encode_text(ids, mask))
sentence(lambda: model.encode_text(ids, mask[:, :3].bool()))
sentence(lambda: model.encode_text(ids, mask.bool().flip(1)))
sentence(lambda: model.encode_text(ids, mask.bool() & False))
sentence(lambda: model.encode_text(torch.tensor([[4, 4096, 5]])))
sentence(lambda: model.encode_text(torch.tensor([[4, -1, 5]])))
sentence(lambda: model.encode_text(ids[0]))
sentence(lambda: model.encode_text(ids.float()))
sentence(lambda: model.encode_text(torch.where(ids == 5, 9, ids)))
sentence(lambda: model(image, ids, mask))
sentence(lambda: ALBEF.named("micro")(image, ids, mask))
sentence(lambda: PixelBERT.named("micro")(image, ids, mask))
with tempfile.TemporaryDirectory() as folder:
    for made in (model, ViT.named("micro"), PixelBERT.named("micro"), ALBEF.named("micro")):
        type(made).from_pretrained(made.save_pretrained(folder))
for name in ("transformers", "datasets", "matplotlib", "accelerate", "torch._dynamo"):
    print(name, name in sys.modules)
"""


def test_without_the_tests_checker_users_read_our_sentences_and_nothing_heavy_is_loaded():
    run = subprocess.run([sys.executable, "-c", UNCHECKED], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert "dtype torch.uint8" in lines[0] and "call tinyvlm.encoders.normalise first" in lines[0]
    assert "shape [1, 3, 48, 40]" in lines[1] and "[batch, 3, 48, 48]" in lines[1]
    assert "shape [3, 48, 48]" in lines[2]
    assert "dtype torch.float32; normalise takes uint8" in lines[3]
    assert "placement is 'sandwich'; choose 'pre' or 'post'" in lines[4]
    told = lines[5:-5]
    assert "mask is torch.int64 of shape [2, 4]; wanted are booleans [2, 4]" in told[0] == told[9]
    assert "mask is torch.bool of shape [2, 3]; wanted are booleans [2, 4]" in told[1]
    assert "mask is True behind padding, or nowhere in a text" in told[2] == told[3]
    assert "ids run from 4 to 4096, and this model knows 0 to 4095: use the tokenizer" in told[4]
    assert "ids run from -1 to 5" in told[5]
    assert "ids are torch.int64 of shape [4]" in told[6] and "ids are torch.float32 of shape [2, 4]" in told[7]
    assert "text 0 has no end token (5): add it, or pass a mask" in told[8]
    assert told[10] == told[11] == told[0]  # ALBEF and Pixel-BERT read texts through the same door
    assert [line.split()[1] for line in lines[-5:]] == ["False"] * 5, lines

"""Folders with checkpoints that are odd, hostile or of several libraries: the right weights, or one sentence."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tinyvlm.encoders import TextConfig, VisionConfig
from tinyvlm.interop.hf import clip_to_hf, vit_to_hf
from tinyvlm.interop.open_clip import clip_to_open_clip
from tinyvlm.models import CLIP, CLIPConfig, ViT, ViTConfig

TOWER = VisionConfig(image_size=8, patch=4, width=8, layers=2, heads=2, hidden=12)
SEEN = TOWER.replace(norm_before=True, patch_bias=False)


def vit() -> ViT:
    return ViT(ViTConfig(tower=TOWER, classes=3))


def clip() -> CLIP:
    return CLIP(CLIPConfig(vision=SEEN, text=TextConfig(11, 5, 8, 1, 2, 12), embedding=6, end_id=4))


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def as_hf(model: ViT | CLIP, folder: Path) -> Path:
    state, config = (vit_to_hf if isinstance(model, ViT) else clip_to_hf)(model.state_dict(), model.config.to_dict())
    folder.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    write_json(folder / "config.json", config)
    return folder


def as_open_clip(model: CLIP, folder: Path) -> Path:
    state, config = clip_to_open_clip(model.state_dict(), model.config.to_dict())
    folder.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "open_clip_model.safetensors")
    del config["model_type"]
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": {}})
    return folder


def as_parts(model: ViT, folder: Path, value: float = 0.0) -> Path:
    """Two files and an index, as large checkpoints of transformers come; weights shifted by `value`."""
    state = {name: weight + value for name, weight in load_file(as_hf(model, folder) / "model.safetensors").items()}
    names = sorted(state)
    parts = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    for part in range(2):
        save_file({name: state[name] for name in names[part::2]}, folder / parts[part])
    where = {name: parts[part] for part in range(2) for name in names[part::2]}
    write_json(folder / "model.safetensors.index.json", {"weight_map": where})
    (folder / "model.safetensors").unlink()
    return folder


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


BEFORE = {
    "open_clip": lambda folder: as_open_clip(clip(), folder),
    "transformers": lambda folder: as_hf(clip(), folder),
    "both": lambda folder: as_open_clip(clip(), as_hf(clip(), folder)),
    "ours": lambda folder: clip().save_pretrained(folder),
}


@pytest.mark.parametrize("write", BEFORE.values(), ids=BEFORE.keys())
def test_what_was_saved_last_is_what_is_loaded(write, tmp_path):
    model = CLIP.from_pretrained(write(tmp_path / "x"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
        model.log_scale.fill_(1.25)
    model.save_pretrained(tmp_path / "x")
    again = CLIP.from_pretrained(tmp_path / "x")
    assert again.log_scale.item() == 1.25 and same(model, again)


def test_a_checkpoint_in_parts_is_replaced_by_one_file(tmp_path):
    model = ViT.from_pretrained(as_parts(vit(), tmp_path / "x"))
    model.head.bias.data.fill_(7)
    model.save_pretrained(tmp_path / "x")
    assert ViT.from_pretrained(tmp_path / "x").head.bias.tolist() == [7.0] * 3


def test_an_index_of_transformers_does_not_reach_into_open_clips_file(tmp_path):
    model = clip()
    folder = as_open_clip(model, as_parts(vit(), tmp_path / "x"))
    assert same(model, CLIP.from_pretrained(folder))
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    as_hf(model, folder)
    assert same(model, CLIP.from_pretrained(folder))  # of the two, the one that can be read


def test_a_tensor_that_lies_in_two_parts_counts_where_the_index_says(tmp_path):
    model = vit()
    folder = as_parts(model, tmp_path / "x")
    last = folder / "model-00002-of-00002.safetensors"
    first = load_file(folder / "model-00001-of-00002.safetensors")
    stale = {name: torch.full_like(value, 9) for name, value in first.items()}
    save_file({**stale, **load_file(last)}, last)
    assert same(model, ViT.from_pretrained(folder))


@pytest.mark.parametrize("part", [
    "../x.safetensors", "/x.safetensors", "sub/x.safetensors", "..\\x.safetensors", "C:x.safetensors", "..", "",
    "x.bin", "config.json", ".safetensors/../../x.safetensors", "x\0.safetensors",
])  # fmt: skip
def test_names_of_parts_stay_inside_the_folder(part, tmp_path):
    folder = as_parts(vit(), tmp_path / "x")
    save_file({"head.bias": torch.ones(3)}, tmp_path / "x.safetensors")
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"head.bias": part}})
    with pytest.raises(ValueError, match="which is no safetensors file in this folder"):
        ViT.from_pretrained(folder)


@pytest.mark.parametrize("index", [{}, {"weight_map": None}, {"weight_map": []}, {"weight_map": {}},
                                   {"weight_map": {"a": 1}}, {"weight_map": "x"}])  # fmt: skip
def test_an_index_without_a_map(index, tmp_path):
    folder = as_parts(vit(), tmp_path / "x")
    write_json(folder / "model.safetensors.index.json", index)
    with pytest.raises(ValueError, match=r"index\.json has no weight_map from tensors to files"):
        ViT.from_pretrained(folder)


def test_a_missing_part_is_no_pickle(tmp_path):
    folder = as_parts(vit(), tmp_path / "x")
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model-00001-of-00002\.safetensors; a part that .*index"):
        ViT.from_pretrained(folder)


@pytest.mark.parametrize("content", [{}, {"model_cfg": None}, {"model_cfg": []}, {"preprocess_cfg": {}}])
def test_an_open_clip_file_without_its_model(content, tmp_path):
    folder = as_open_clip(clip(), tmp_path / "x")
    write_json(folder / "open_clip_config.json", content)
    with pytest.raises(ValueError, match=r"open_clip_config\.json has no object called model_cfg"):
        CLIP.from_pretrained(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_a_pipe_or_a_folder_is_no_file(name, make, tmp_path):
    folder = vit().save_pretrained(tmp_path / "x") if "index" not in name else as_parts(vit(), tmp_path / "x")
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(FileNotFoundError, match=r"has no (config\.json|model\.safetensors)"):
        ViT.from_pretrained(folder)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}", " " * (64 * 2**20 + 1)],
                         ids=["deep", "long number", "large"])  # fmt: skip
def test_json_that_is_made_to_hurt(content, tmp_path):
    folder = vit().save_pretrained(tmp_path / "x")
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json is (not JSON|larger than 64 MiB)"):
        ViT.from_pretrained(folder)


SHAPES = {
    "ours": (lambda folder: clip().save_pretrained(folder), "config.json", ("config", "vision", "layers")),
    "transformers": (lambda folder: as_hf(clip(), folder), "config.json", ("text_config", "num_hidden_layers")),
    "open_clip": (
        lambda folder: as_open_clip(clip(), folder), "open_clip_config.json", ("model_cfg", "text_cfg", "layers")),
}  # fmt: skip


@pytest.mark.parametrize(("write", "name", "where"), SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("layers", [10**9, 10**5, 500])
def test_a_configuration_far_larger_than_its_file_is_refused_at_once(write, name, where, layers, tmp_path):
    folder = write(tmp_path / "x")
    config = json.loads((folder / name).read_text())
    place = config
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = layers
    write_json(folder / name, config)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="it describes many more weights than the file holds"):
        CLIP.from_pretrained(folder)
    assert time.perf_counter() - start < 20


def paths(value: object, at: tuple = ()) -> list[tuple]:
    if not isinstance(value, dict):
        return [at]
    return ([at] if at else []) + [path for key, item in value.items() for path in paths(item, (*at, key))]


@pytest.mark.parametrize(("write", "name", "_"), SHAPES.values(), ids=SHAPES.keys())
def test_any_value_anywhere_in_a_configuration_gives_a_model_or_one_sentence(write, name, _, tmp_path):
    folder = write(tmp_path / "x")
    whole = (folder / name).read_text()
    for number, path in enumerate(paths(json.loads(whole))):
        values = [None, -1, 0, 3, 10**12, 0.5, "x", "", [], [1, 2], {}, True, float("nan")]
        for odd in values[number % 3 :: 3]:
            config = json.loads(whole)
            place = config
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = odd
            write_json(folder / name, config)
            try:
                CLIP.from_pretrained(folder)
            except (ValueError, FileNotFoundError) as error:
                assert str(folder) in str(error), (path, odd, error)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("make", [vit().save_pretrained, lambda folder: as_hf(vit(), folder)], ids=["ours", "hf"])
def test_weights_that_are_no_numbers_are_named(bad, make, tmp_path):
    make(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    name = next(name for name in state if name.endswith("mlp.branch.up.weight") or "intermediate.dense.w" in name)
    state[name].view(-1)[-1] = bad
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"mlp\.branch\.up\.weight holds NaN or infinity"):
        ViT.from_pretrained(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_weights_of_another_kind_are_refused(dtype, tmp_path):
    folder = vit().save_pretrained(tmp_path / "x")
    state = load_file(folder / "model.safetensors")
    save_file({**state, "head.bias": torch.ones(3).to(dtype)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"head\.bias is torch\.\w+, no dtype of weights"):
        ViT.from_pretrained(folder)


def test_float64_weights_beyond_float32_are_not_rounded_to_infinity(tmp_path):
    folder = vit().save_pretrained(tmp_path / "x")
    state = load_file(folder / "model.safetensors")
    save_file({**state, "head.bias": torch.full((3,), 1e300, dtype=torch.float64)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"head\.bias holds NaN or infinity"):
        ViT.from_pretrained(folder)


@pytest.mark.parametrize(("value", "dtype", "message"), [
    (1e5, torch.float16, r"head\.bias holds 100000, which torch\.float16 cannot store .* save in bfloat16 or float32"),
    (-1e5, torch.float16, "holds 100000"),
    (torch.nan, None, "find the step that produced it"),
    (torch.inf, torch.bfloat16, "find the step that produced it"),
    (1.0, torch.int16, "dtype=torch.int16 cannot hold weights: choose float16, bfloat16"),
    (1.0, torch.float8_e4m3fn, "cannot hold weights"),
])  # fmt: skip
def test_weights_that_a_dtype_cannot_hold_are_not_saved(value, dtype, message, tmp_path):
    model = vit()
    folder = model.save_pretrained(tmp_path / "x")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model.head.bias.data.fill_(value)
    with pytest.raises(ValueError, match=message):
        model.save_pretrained(folder, dtype=dtype)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    if value == 1e5:
        model.save_pretrained(folder, dtype=torch.bfloat16)
        assert ViT.from_pretrained(folder).head.bias.tolist() == pytest.approx([1e5] * 3, rel=0.01)

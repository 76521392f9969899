"""Hub data sets from a local folder in the hub's format, and one sentence for everything that can be missing."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tinyvlm.data import hub

datasets = pytest.importorskip("datasets", reason="the hub extra is not installed")

CLASSES = ["plane", "wild_cat", "dog"]


def letters(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """A tokenizer of the simplest kind: code points, cut at 24."""
    rows = [[ord(letter) for letter in text[:24]] for text in texts]
    ids = torch.tensor([row + [0] * (24 - len(row)) for row in rows])
    return ids, ids != 0


def spell(ids: Tensor) -> str:
    return "".join(chr(i) for i in ids.tolist() if i)


def picture(number: int, width: int = 20, height: int = 16) -> Image.Image:
    return Image.fromarray(np.full((height, width, 3), number * 10, dtype=np.uint8))


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten training and four test images as the hub stores them: parquet with typed features."""
    folder = tmp_path_factory.mktemp("cifar10")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    for split, count in (("train", 10), ("test", 4)):
        rows = {"img": [picture(i) for i in range(count)], "label": [i % 3 for i in range(count)]}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def flickr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder with its metadata file and two captions for each image."""
    folder = tmp_path_factory.mktemp("flickr8k")
    for split in ("train", "validation"):
        (folder / split).mkdir()
        lines = []
        for i in range(6):
            picture(i).save(folder / split / f"{i}.png")
            lines.append(json.dumps({"file_name": f"{i}.png", "caption_0": f"first {i}", "caption_1": f"second {i}"}))
        (folder / split / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def test_batches_have_the_type_of_the_emoji_world(cifar: Path, tmp_path: Path) -> None:
    data = hub.load("cifar10", "train", 12, source=cifar, tokenize=letters, cache=tmp_path)
    assert len(data) == 10 and data.names == tuple(CLASSES)
    batch = data.batch([4, 1])
    assert {key: (value.dtype, tuple(value.shape)) for key, value in batch.items()} == {
        "image": (torch.uint8, (2, 3, 12, 12)),
        "text": (torch.int64, (2, 24)),
        "text_mask": (torch.bool, (2, 24)),
        "label": (torch.int64, (2,)),
        "index": (torch.int64, (2,)),
    }
    assert batch["image"][0].unique().tolist() == [40] and batch["image"][1].unique().tolist() == [10]
    assert batch["label"].tolist() == [1, 1] and batch["index"].tolist() == [4, 1]
    assert spell(batch["text"][0]) == "a photo of a wild cat"
    assert data.captions(2) == ("a photo of a dog",)
    assert len(hub.load("cifar10", "test", 12, source=cifar, tokenize=letters, cache=tmp_path)) == 4


def test_the_course_tokenizer_is_the_default_and_cuts_long_captions(cifar: Path, tmp_path: Path) -> None:
    template = "a photo of a {} " + "and more " * 30
    data = hub.load("cifar10", "train", 12, source=cifar, context=16, template=template, cache=tmp_path)
    batch = data.batch([0])
    assert batch["text"].shape == (1, 16) and bool(batch["text_mask"].all())


def test_several_captions_one_drawn_by_number_and_seed(flickr: Path, tmp_path: Path) -> None:
    data = hub.load("flickr8k", "val", 8, source=flickr, tokenize=letters, cache=tmp_path)
    assert data.captions(3) == ("first 3", "second 3")
    texts = [spell(row) for row in data.batch(range(6))["text"]]
    assert all(text in data.captions(i) for i, text in enumerate(texts))
    assert len({text.split()[0] for text in texts}) == 2  # both captions are in use
    assert texts == [spell(data.batch([i])["text"][0]) for i in range(6)]  # whatever the batch
    assert data.batch([0])["label"].tolist() == [hub.NO_LABEL] and data.names == ()


def test_source_is_a_pure_function_and_an_epoch_sees_each_image_once(cifar: Path, tmp_path: Path) -> None:
    data = hub.load("cifar10", "train", 8, source=cifar, tokenize=letters, cache=tmp_path)
    source = data.source(5)
    first, second = (
        [*source(2 * epoch)["index"].tolist(), *source(2 * epoch + 1)["index"].tolist()] for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    again = hub.load("cifar10", "train", 8, source=cifar, tokenize=letters, cache=tmp_path).source(5)
    assert again(3)["index"].tolist() == source(3)["index"].tolist() == second[5:]
    whole = data.source(4)
    halves = [whole(1, rank, 2)["index"].tolist() for rank in (0, 1)]
    assert halves[0] + halves[1] == whole(1)["index"].tolist()
    with pytest.raises(ValueError, match="does not divide among 2 processes"):
        source(0, 0, 2)
    with pytest.raises(ValueError, match=r"batch_size=11 for 10 images: use 1 to 10"):
        data.source(11)


def test_a_stream_is_read_in_order_and_equals_the_loaded_set(cifar: Path, tmp_path: Path) -> None:
    options = {"source": cifar, "tokenize": letters, "cache": tmp_path}
    stream = hub.load("cifar10", "train", 8, streaming=True, **options)
    loaded = hub.load("cifar10", "train", 8, **options)
    assert stream.names == tuple(CLASSES)
    read = list(stream.batches(4))
    assert [len(batch["index"]) for batch in read] == [4, 4, 2]
    for ours, theirs in zip(read, loaded.batches(4), strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert torch.equal(read[1]["image"], loaded.batch(range(4, 8))["image"])
    with pytest.raises(ValueError, match="read in order"):
        stream.batch([0])
    with pytest.raises(ValueError, match="read in order"):
        stream.source(4)
    with pytest.raises(TypeError, match="has no length"):
        len(stream)


def test_crop_keeps_the_middle_of_the_longer_side() -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 200
    assert np.unique(hub.to_square(Image.fromarray(wide), 10)).tolist() == [200]
    assert np.unique(hub.to_square(Image.fromarray(wide).rotate(90, expand=True), 10)).tolist() == [200]
    assert hub.to_square(Image.new("L", (7, 5), 9), 4).shape == (3, 4, 4)  # grey, and enlarged or not


RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16 + 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_keep_their_range(tmp_path: Path, kind: str, mode: str) -> None:
    made = Image.fromarray(RAMP if mode == "I;16" else RAMP.astype(">u2"))
    made.save(tmp_path / "ramp", kind)
    read = [] if mode == "I;16B" else [Image.open(tmp_path / "ramp"), {"bytes": (tmp_path / "ramp").read_bytes()}]
    for stored in (made, *read):
        square = hub.to_square(stored, 64)
        assert (square.min(), square.max()) == (0, 255) and abs(square.mean() - 127.5) < 0.6
        np.testing.assert_array_equal(square[0], RAMP >> 8)


def test_sixteen_bits_with_a_clear_grey() -> None:
    made = Image.fromarray(RAMP)
    made.info["transparency"] = int(RAMP[0, 0])
    assert hub.to_square(made, 64)[0, 0, 0] == 255


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_without_a_known_range_are_refused(dtype: type) -> None:
    with pytest.raises(ValueError, match=r"mode [IF] has no known range: convert the picture to 8 bits"):
        hub.to_square(Image.fromarray(RAMP.astype(dtype)), 64)


def clear(mode: str) -> Image.Image:
    """A black square of 4 pixels in the middle of a transparent ground of 8 that is black underneath."""
    square = Image.new("LA", (8, 8), (0, 0))
    square.paste((0, 255), (2, 2, 6, 6))
    if mode == "P":
        made = Image.new("P", (8, 8), 1)
        made.putpalette([0, 0, 0] * 256)
        made.paste(2, (2, 2, 6, 6))
        made.info["transparency"] = 1
        return made
    return square.convert("RGBA").convert(mode) if mode != "La" else square.convert("La")


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa", "P"])
def test_transparent_places_are_white(mode: str) -> None:
    square = hub.to_square(clear(mode), 8)
    assert np.unique(square[:, 2:6, 2:6]).tolist() == [0]
    square[:, 2:6, 2:6] = 255
    assert np.unique(square).tolist() == [255]


def test_a_clear_colour_of_a_png_is_white_and_an_opaque_picture_keeps_its_values(tmp_path: Path) -> None:
    made = Image.new("RGB", (8, 8), (1, 2, 3))
    made.paste((9, 9, 9), (0, 0, 4, 8))
    made.save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert np.unique(hub.to_square(Image.open(tmp_path / "a.png"), 8)[:, 0]).tolist() == [9, 255]
    np.testing.assert_array_equal(hub.to_square(made.convert("RGBA"), 8), hub.to_square(made, 8))


def test_a_picture_stored_as_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    picture(3).save(file)
    from_bytes = hub.to_square({"bytes": file.read_bytes(), "path": None}, 8)
    assert np.unique(from_bytes).tolist() == [30]
    np.testing.assert_array_equal(hub.to_square({"bytes": None, "path": str(file)}, 8), from_bytes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnist",), "Unknown data set 'mnist': choose from cifar10, cifar100, flickr8k, coco, pets"),
        (("cifar10", "val"), "cifar10 has no split 'val': choose from train, test"),
        (("cifar10", "train", 0), "size=0 is no picture"),
    ],
)
def test_unknown_names_get_one_sentence(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hub.load(*arguments)  # type: ignore[arg-type]


def test_a_template_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="has no place for the class"):
        hub.load("cifar10", template="a photo")


def test_without_network_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"cifar10 could not be fetched .* source= a local copy, .* emoji world"):
        hub.load("cifar10", "train", cache=tmp_path)


def test_without_the_package_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match="with its extra `hub`"):
        hub.load("cifar10")


def test_a_source_that_is_absent_empty_or_foreign(cifar: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no folder: pass as source="):
        hub.load("cifar10", source=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="cannot be read as the 'train' split of cifar10"):
        hub.load("cifar10", source=tmp_path / "empty", cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="has no caption column: it has img, label"):
        hub.load("flickr8k", source=cifar, cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="cannot be read as the 'validation' split of flickr8k"):
        hub.load("flickr8k", "val", source=cifar, cache=tmp_path / "cache")


def test_numbers_outside_the_set_are_named(cifar: Path, tmp_path: Path) -> None:
    data = hub.load("cifar10", "test", 8, source=cifar, tokenize=letters, cache=tmp_path)
    with pytest.raises(ValueError, match="asked for number 4: name images from 0 to 3"):
        data.batch([0, 4])
    with pytest.raises(ValueError, match="no number at all"):
        data.batch([])
    with pytest.raises(ValueError, match="batch_size=0"):
        next(data.batches(0))


def local(folder: Path, columns: dict, features: dict | None = None, split: str = "train") -> Path:
    """A set in one parquet file, with the pictures that it lacks."""
    folder.mkdir()
    rows = {"image": [picture(i) for i in range(len(next(iter(columns.values()))))], **columns}
    kinds = None if features is None else datasets.Features({"image": datasets.Image(), **features})
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("hidden", [-1, None])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_hidden_label_is_no_class(tmp_path: Path, hidden: int | None, streaming: bool) -> None:
    names = datasets.ClassLabel(names=["airplane", "bird", "truck"])
    folder = local(tmp_path / "x", {"label": [2, hidden]}, {"label": names})
    data = hub.load("cifar10", source=folder, tokenize=letters, cache=tmp_path, streaming=streaming)
    with pytest.raises(ValueError, match=rf"Row 1 of cifar10 has {hidden} in column 'label'.* allowed are 0 to 2"):
        next(data.batches(2)) if streaming else data.captions(1)
    assert spell(next(data.batches(1))["text"][0]) == "a photo of a truck"


@pytest.mark.parametrize("label", ["cat", 1.5, -3])
def test_a_label_that_is_no_number_of_a_class_names_its_column(tmp_path: Path, label: object) -> None:
    data = hub.load("cifar10", source=local(tmp_path / "x", {"label": [label]}), tokenize=letters, cache=tmp_path)
    with pytest.raises(ValueError, match=r"Row 0 of cifar10 has .* in column 'label', which is no class"):
        data.batch([0])


RECORD = {"raw": "a dog runs", "tokens": ["a", "dog", "runs"], "imgid": 1, "sentid": 1}
CELLS = {
    "one record": (RECORD, ("a dog runs",)),
    "a list of records": ([RECORD, {**RECORD, "raw": "a dog"}], ("a dog runs", "a dog")),
    "a record of lists": ({"raw": ["a dog runs", "a dog"], "sentid": [1, 2]}, ("a dog runs", "a dog")),
    "COCO's own": ([{"id": 3, "caption": "a cat"}], ("a cat",)),
    "a text": ("a cat", ("a cat",)),
    "texts and a gap": (["a cat", None, " ", "a dog"], ("a cat", "a dog")),
}


@pytest.mark.parametrize(("cell", "captions"), CELLS.values(), ids=CELLS.keys())
def test_captions_in_the_forms_of_public_copies(tmp_path: Path, cell: object, captions: tuple[str, ...]) -> None:
    data = hub.load("coco", source=local(tmp_path / "x", {"sentences": [cell]}), tokenize=letters, cache=tmp_path)
    assert data.captions(0) == captions and spell(data.batch([0])["text"][0]) in captions


@pytest.mark.parametrize(("cell", "message"), [
    (None, "Row 1 of coco has no caption in sentences: leave it out"),
    ("", "Row 1 of coco has no caption in sentences: leave it out"),
    (3, "Row 1 of coco has 3 in column 'sentences', which is no caption"),
    ({"imgid": 1}, "Row 1 of coco has .* in column 'sentences', which is no caption: .* raw or caption or text"),
    ([1, 2], "Row 1 of coco has 1 in column 'sentences'"),
])  # fmt: skip
def test_a_cell_without_captions_names_row_and_column(tmp_path: Path, cell: object, message: str) -> None:
    first = "a cat" if cell in (None, "") else cell
    folder = local(tmp_path / "x", {"sentences": [first, cell]})
    data = hub.load("coco", source=folder, tokenize=letters, cache=tmp_path)
    with pytest.raises(ValueError, match=message):
        data.captions(1)


@pytest.mark.parametrize("damage", ["corrupt", "truncated", "no picture"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_damaged_picture_is_named_by_its_row(tmp_path: Path, damage: str, streaming: bool) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    folder = tmp_path / "parquet"
    folder.mkdir()
    noise.save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    bad = {
        "corrupt": {"bytes": b"no picture at all", "path": None},
        "truncated": {"bytes": whole[: len(whole) // 2], "path": None},
        "no picture": None,
    }[damage]
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    rows = {"image": [{"bytes": whole, "path": None}] * 2 + [bad], "caption": ["a", "b", "c"]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    data = hub.load("coco", source=folder, tokenize=letters, cache=tmp_path / "cache", streaming=streaming)
    with pytest.raises(ValueError, match=r"Row 2 of coco has a picture that cannot be read \(.*\): fetch it again"):
        list(data.batches(1)) if streaming else data.batch([0, 2])


def test_a_missing_picture_is_named_by_its_row(flickr: Path, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    shutil.copytree(flickr, folder)
    data = hub.load("flickr8k", "val", 8, source=folder, tokenize=letters, cache=tmp_path / "cache")
    (folder / "validation" / "4.png").unlink()
    assert data.batch([3, 5])["index"].tolist() == [3, 5]
    with pytest.raises(ValueError, match=r"Row 4 of flickr8k has a picture that cannot be read \(FileNotFoundError"):
        data.batch([3, 4])

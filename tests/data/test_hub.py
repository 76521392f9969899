"""Hub data sets from a local folder in the hub's format, and one sentence for everything that can be missing."""

import json
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

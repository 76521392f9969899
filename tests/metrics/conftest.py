"""The libraries that the metrics are held against, which meet the course only here, and a corpus with known scores."""

import importlib
import random
from types import ModuleType

import pytest

Corpus = tuple[list[str], list[list[str]]]


@pytest.fixture(scope="session")
def torchmetrics() -> ModuleType:
    """A fixture because importing it takes seconds."""
    for part in ("retrieval", "classification", "segmentation"):
        importlib.import_module(f"torchmetrics.functional.{part}")
    return importlib.import_module("torchmetrics")


@pytest.fixture
def toy() -> Corpus:
    """Three pictures: one caption nearly right, one right, one wrong."""
    return (
        ["a cat is on the mat", "a dog is running in the park", "a man rides a horse"],
        [
            ["a cat sits on the mat", "the cat is on the mat"],
            ["a dog runs in the park", "a brown dog is running outside"],
            ["two people ride bikes down a street", "people riding bicycles on a road"],
        ],
    )


def random_corpus(seed: int, images: int) -> Corpus:
    """Few words, so that n-grams repeat within and across captions; some hypotheses are empty or very short."""
    draw = random.Random(seed)

    def caption(least: int) -> str:
        return " ".join(draw.choices("a b c d e f".split(), [6, 4, 3, 2, 1, 1], k=draw.randint(least, 12)))

    return (
        [caption(0) for _ in range(images)],
        [[caption(1) for _ in range(draw.randint(1, 5))] for _ in range(images)],
    )


@pytest.fixture(params=range(8))
def corpus(request: pytest.FixtureRequest) -> Corpus:
    """Random captions of 1, 8, 15, ... pictures."""
    return random_corpus(request.param, 1 + 7 * request.param)


def as_coco(corpus: Corpus) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and hypotheses as pycocoevalcap's scorers take them."""
    hypotheses, references = corpus
    return dict(enumerate(references)), {image: [caption] for image, caption in enumerate(hypotheses)}


@pytest.fixture
def coco(corpus: Corpus) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    return as_coco(corpus)

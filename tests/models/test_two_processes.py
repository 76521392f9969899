"""ALBEF and Pixel-BERT: two processes with half a batch each learn what one process with the whole batch learns."""

import importlib.util
from pathlib import Path

import pytest
import torch

from tinyvlm.objectives import alone

WORKER = Path(__file__).with_name("two_processes_albef.py")
specification = importlib.util.spec_from_file_location("two_processes_albef", WORKER)
worker = importlib.util.module_from_spec(specification)
specification.loader.exec_module(worker)


@pytest.fixture(scope="module")
def results(two_ranks, tmp_path_factory) -> list[dict]:
    """What the two processes found, in the order of their ranks."""
    return two_ranks(WORKER, tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def single() -> tuple[dict, dict]:
    """One process with the whole batch: terms and gradients, queues."""
    return worker.albef_run(worker.whole_batch(), alone)


def of(term: str, found: dict) -> dict:
    return {name: value for name, value in found.items() if f" {term} " in name}


def same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: name + text)


def learning(found: dict) -> set[str]:
    """The parts of the model that a gradient reached."""
    return {name.split()[2].split(".")[0] for name, value in found.items() if value.abs().max() > 1e-6} - {"loss"}


TOWERS = {"vision", "embedding", "text"}
REACHED = {
    "ITC": TOWERS | {"image_projection", "text_projection", "temperature"},
    "ITM": TOWERS | {"fusion", "match"},
    "MLM": TOWERS | {"fusion", "word"},
}


@pytest.mark.parametrize("term", REACHED)
def test_each_loss_of_albef_and_every_gradient_equal_the_whole_batch(results, single, term):
    expected = of(term, single[0])
    assert learning(expected) == REACHED[term]
    for rank in range(2):
        same(of(term, results[rank]["ALBEF"]), expected)
    losses = [expected[f"{step} {term} loss"] for step in range(worker.STEPS)]
    assert all(loss > 0.1 for loss in losses)
    assert torch.equal(*losses) == (term == "ITM")  # twin and queues moved in between, and ITM here asks neither


def test_both_queues_hold_the_whole_batchs_keys_in_its_order(results, single):
    expected = single[1]
    assert set(expected) == {"image features", "image place", "text features", "text place"}
    assert expected["image place"] == worker.STEPS * worker.PAIRS % worker.QUEUE
    for rank in range(2):
        same(results[rank]["queues"], expected)


def test_keys_that_are_not_gathered_would_be_seen(results, single):
    for step in range(worker.STEPS):
        loss = f"{step} ITC loss"
        assert not torch.allclose(results[0]["ALBEF by itself"][loss], single[0][loss], rtol=1e-3)
    same(of("MLM", results[0]["ALBEF by itself"]), of("MLM", single[0]))  # which gathers nothing


def test_pixel_berts_masked_words_equal_the_whole_batch_when_its_norms_are_frozen(results):
    expected = worker.pixel_bert_run(worker.whole_batch(), frozen=True)
    assert learning(expected) == {"trunk", "projection", "visual", "embedding", "blocks", "word"}
    for rank in range(2):
        same(results[rank]["Pixel-BERT"], expected)


def test_live_norms_depend_on_how_the_batch_is_split(results):
    expected = worker.pixel_bert_run(worker.whole_batch(), frozen=False)
    assert not torch.allclose(results[0]["Pixel-BERT, live norm"]["0 MLM loss"], expected["0 MLM loss"], rtol=1e-3)

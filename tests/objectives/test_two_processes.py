"""Two processes with half a batch each learn what one process with the whole batch learns."""

import importlib.util
from pathlib import Path

import pytest
import torch

from tinyvlm.objectives import alone, gather_with_gradient

WORKER = Path(__file__).with_name("two_processes.py")
specification = importlib.util.spec_from_file_location("two_processes", WORKER)
worker = importlib.util.module_from_spec(specification)
specification.loader.exec_module(worker)


@pytest.fixture(scope="module")
def results(two_ranks, tmp_path_factory) -> list[dict]:
    """What the two processes found, in the order of their ranks."""
    return two_ranks(WORKER, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("negatives", [False, True], ids=["pairs", "with negatives"])
def test_loss_and_every_gradient_equal_the_whole_batch(results, negatives):
    expected = worker.loss_and_gradients(worker.whole_batch(negatives), alone, worker.PAIRS)
    assert len(expected) > 50 and all(value is not None for value in expected.values())
    for rank in range(2):
        found = results[rank][f"with {negatives}"]
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: name + text
            )


@pytest.mark.parametrize("negatives", [False, True], ids=["pairs", "with negatives"])
def test_a_gathering_without_gradient_would_be_seen(results, negatives):
    expected = worker.loss_and_gradients(worker.whole_batch(negatives), alone, worker.PAIRS)
    found = results[0][f"without {negatives}"]
    torch.testing.assert_close(found["loss"], expected["loss"])  # the loss alone cannot tell
    wrong = [name for name in expected if not torch.allclose(found[name], expected[name], rtol=1e-2, atol=1e-6)]
    assert "model.image_projection.weight" in wrong and "model.text_projection.weight" in wrong


def test_gathering_leaves_gradients_that_autograd_shares_alone(results):
    weight = torch.arange(12.0).reshape(4, 3)
    for rank in range(2):
        own, other = results[rank]["shared"][:2], results[rank]["shared"][2:]
        torch.testing.assert_close(own, 2 * weight[2 * rank : 2 * rank + 2])  # both processes' losses
        torch.testing.assert_close(other, weight)


def test_without_a_process_group_everybody_is_alone():
    rows = torch.randn(3, 2)
    gathered, first = gather_with_gradient(rows)
    assert gathered is rows and first == 0 and alone(rows) == (rows, 0)

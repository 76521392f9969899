"""The seam between papers and trainer."""

import pytest
import torch

from tinyvlm.models import Task, Term


def test_a_term_is_a_sum_and_a_count():
    assert Term(torch.tensor(6.0), torch.tensor(4)).mean.item() == 1.5
    assert Term(torch.tensor(0.0), torch.tensor(0)).mean.item() == 0.0


def test_terms_of_two_processes_add_up():
    parts = [Term(torch.tensor(2.0), torch.tensor(1)), Term(torch.tensor(4.0), torch.tensor(3))]
    whole = Term(sum(part.sum for part in parts), sum(part.count for part in parts))
    assert whole.mean.item() == 1.5


def test_a_task_without_losses_says_what_to_write(rng):
    class Empty(Task):
        pass

    with pytest.raises(TypeError, match="Empty defines no losses: write forward"):
        Empty()({})


def test_the_other_calls_do_nothing_unless_written(rng):
    batch = {"x": torch.zeros(1)}
    task = Task()
    assert task.prepare(batch, rng) is batch
    assert task.before_step() is None and task.after_step() is None

"""The seam between papers and trainer."""

import pytest
import torch

from tinyvlm.models import Task, Term
from tinyvlm.models.task import same_scene


def test_a_term_is_a_sum_and_a_count():
    assert Term(torch.tensor(6.0), torch.tensor(4)).mean.item() == 1.5
    assert Term(torch.tensor(0.0), torch.tensor(0)).mean.item() == 0.0


def test_a_term_of_losses_sums_and_counts_all_or_those_counted():
    losses = torch.tensor([[1.0, 2.0], [4.0, 8.0]], requires_grad=True)
    whole = Term.of(losses)
    assert whole.sum.item() == 15 and whole.count.item() == 4 and not whole.count.requires_grad
    some = Term.of(losses, torch.tensor([[True, False], [False, True]]))
    assert some.sum.item() == 9 and some.count.item() == 2
    some.sum.backward()
    assert losses.grad.tolist() == [[1, 0], [0, 1]]
    none = Term.of(losses, torch.zeros(2, 2, dtype=torch.bool))
    assert none.sum.item() == none.count.item() == none.mean.item() == 0


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
    assert task.before_step() is None and task.after_step(batch) is None


def test_pictures_are_normalised_unless_a_task_says_otherwise(rng):
    batch = {"image": torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1), "text": torch.ones(1, 2)}
    prepared = Task().prepare(batch, rng)
    torch.testing.assert_close(prepared["image"].flatten(), torch.tensor([-1.0, -0.6, 1.0]))
    assert prepared["text"] is batch["text"] and batch["image"].dtype == torch.uint8


def test_captions_of_equal_scenes_are_true_of_each_others_pictures():
    text = torch.tensor([[1, 5, 2], [1, 6, 2], [1, 5, 2], [1, 5, 3]])
    same = same_scene({"text": text})
    assert same.tolist() == [[i == j or {i, j} == {0, 2} for j in range(4)] for i in range(4)]


def test_the_scene_counts_where_it_is_known_and_not_its_wording():
    text = torch.tensor([[1, 5, 2], [1, 6, 2], [1, 5, 2]])
    content = torch.tensor([2**62 + 1, 2**62 + 1, 2**62])  # equal as floats
    same = same_scene({"text": text, "content": content})
    assert same.tolist() == [[True, True, False], [True, True, False], [False, False, True]]

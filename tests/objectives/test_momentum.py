"""A ring of features against a deque, and a slowly following copy against a loop over its parameters."""

import copy
from collections import deque

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyvlm.encoders.vision import VisionConfig, vision_block
from tinyvlm.objectives import FeatureQueue, Frozen, MomentumTwin


def contents(queue: FeatureQueue) -> list[list[float]]:
    """Oldest first."""
    place = int(queue.place)
    return torch.cat([queue.features[place:], queue.features[:place]]).tolist()


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3, 3], [1, 2, 3, 4, 5, 6], [7, 7], [9, 2, 23, 5], [0, 4, 0]], ids=str)
def test_the_queue_is_a_deque(sizes):
    queue = FeatureQueue(7, 4)
    slow = deque(queue.features.tolist(), maxlen=7)
    for size in sizes:
        rows = torch.randn(size, 4)
        queue.enqueue(rows)
        slow.extend(rows.tolist())
        assert contents(queue) == list(slow) and queue.features.shape == (7, 4)


def test_the_queue_starts_with_random_unit_vectors():
    queue = FeatureQueue(50, 6)
    torch.testing.assert_close(queue.features.norm(dim=1), torch.ones(50))
    assert len({tuple(row) for row in queue.features.tolist()}) == 50 and not list(queue.parameters())


def test_a_checkpoint_continues_where_the_ring_stood():
    one, two = FeatureQueue(5, 3), FeatureQueue(5, 3)
    one.enqueue(torch.randn(3, 3))
    assert set(one.state_dict()) == {"features", "place"}
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    rows = torch.randn(4, 3)
    for queue in (one, two):
        queue.enqueue(rows)
    assert torch.equal(one.features, two.features) and one.place == two.place == 2


def test_a_loss_from_before_can_be_backpropagated_after():
    queue, query, rows = FeatureQueue(5, 3), torch.randn(2, 3, requires_grad=True), torch.randn(4, 3)
    before = queue.features.clone()
    loss = (query @ queue.features.T).square().sum()
    queue.enqueue(rows)
    loss.backward()
    torch.testing.assert_close(query.grad, 2 * query.detach() @ before.T @ before)


def test_the_queue_keeps_values_not_graphs_and_has_its_own_dtype():
    queue, rows = FeatureQueue(5, 3).double(), torch.randn(2, 3, requires_grad=True)
    queue.enqueue(rows)
    assert not queue.features.requires_grad and queue.features.dtype == torch.double
    with torch.no_grad():
        rows.zero_()
    assert queue.features[:2].abs().sum() > 0


def test_a_queue_of_nothing_is_refused():
    with pytest.raises(ValueError, match="size is 0; it must hold at least 1 feature"):
        FeatureQueue(0, 3)


class Net(nn.Module):
    """A bit of everything: a norm with statistics, a parameter of its own, a layer without a bias, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 4, bias=False))
        self.shift = nn.Parameter(torch.randn(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x) + self.shift)


@torch.no_grad()
def move(student: nn.Module) -> None:
    """As an optimiser would."""
    for parameter in student.parameters():
        parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.995, 1.0])
def test_the_twin_follows_as_the_loop_says(momentum):
    student = Net().double()
    twin = MomentumTwin(student, momentum)
    expected = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    for _ in range(3):
        move(student)
        twin.update()
        for name, parameter in student.named_parameters():
            expected[name] = momentum * expected[name] + (1 - momentum) * parameter.detach()
    found = dict(twin.network.named_buffers())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: name + text)
    assert len(list(twin.followed())) == len(expected)
    for one, two in zip(twin.followed(), expected.values(), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_at_the_ends_the_twin_is_the_student_or_what_it_was(momentum):
    student = Net()
    twin, first = MomentumTwin(student, momentum), copy.deepcopy(student)
    move(student)
    twin.update()
    wanted = (first if momentum else student).parameters()
    assert all(torch.equal(one, two) for one, two in zip(twin.followed(), wanted, strict=True))


def test_a_new_twin_says_what_the_student_says():
    for student, x in (
        (Net(), torch.randn(5, 4)),
        (vision_block(VisionConfig(width=12, heads=2, hidden=18, qkv_bias=False)), torch.randn(2, 3, 12)),
    ):
        move(student)
        twin = MomentumTwin(student.eval())
        assert torch.equal(twin.network(x), student(x))
        move(student)
        assert not torch.allclose(twin.network(x), student(x))  # a copy, not a view


def test_the_twins_weights_are_buffers_and_survive_a_checkpoint():
    student = Net()
    twin = MomentumTwin(student)
    assert list(twin.parameters()) == []
    assert {f"network.{name}" for name in student.state_dict()} == set(twin.state_dict())
    other = MomentumTwin(Net())
    other.load_state_dict(twin.state_dict())
    x = torch.randn(5, 4)
    assert torch.equal(other.eval().network(x), twin.eval().network(x))
    other.update()  # and it goes on following its own student
    assert not torch.equal(other.network(x), twin.network(x))


def test_beside_its_student_it_is_saved_and_optimised_once():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Net()
            self.twin = MomentumTwin(self.model)

    both = Both()
    names = [name for name, _ in both.named_parameters()]
    assert names == [f"model.{name}" for name, _ in both.model.named_parameters()]
    prefixes = {name: name.rsplit(".", 1)[0] for name in both.state_dict()}
    assert len(prefixes) == 2 * len(both.model.state_dict())
    assert all(name.startswith(("model.", "twin.network.")) for name in prefixes)
    again = copy.deepcopy(both)  # the copy's twin follows the copy's student
    move(again.model)
    again.twin.momentum = 0.0
    again.twin.update()
    assert torch.equal(again.twin.network.shift, again.model.shift)
    assert not torch.equal(both.twin.network.shift, again.model.shift)


def test_statistics_of_batch_norm_are_the_twins_own():
    student = Net().train()
    twin = MomentumTwin(student, 0.5)
    student(3 + torch.randn(50, 4))
    twin.update()
    mine, theirs = twin.network.body[1], student.body[1]
    assert mine.running_mean.abs().sum() == 0 and mine.num_batches_tracked == 0 and theirs.running_mean.abs().sum() > 0
    twin.network(torch.randn(50, 4))
    assert mine.num_batches_tracked == 1 and theirs.num_batches_tracked == 1


def test_no_gradient_reaches_the_student_through_its_twin():
    student, x = Net(), torch.randn(5, 4)
    twin = MomentumTwin(student)
    assert not twin.network(x).requires_grad
    loss = F.mse_loss(student(x), 1 + twin.network(x))
    expected = torch.autograd.grad(F.mse_loss(student(x), 1 + twin.network(x).clone()), list(student.parameters()))
    loss.backward()
    for parameter, value in zip(student.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, value)
    twin.update()
    assert all(not tensor.requires_grad for tensor in twin.followed())
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_parts_that_nobody_asks_are_left_out():
    student = Net()
    twin = MomentumTwin(student, 0.5, leave_out=("head", "shift"))
    assert not hasattr(twin.network, "head") and not hasattr(twin.network, "shift")
    assert hasattr(student, "head") and hasattr(student, "shift")
    before = [tensor.clone() for tensor in twin.followed()]
    move(student)
    twin.update()
    assert len(before) == len(list(student.body.parameters()))
    for tensor, old, new in zip(twin.followed(), before, student.body.parameters(), strict=True):
        torch.testing.assert_close(tensor, (old + new) / 2)


def test_tied_weights_of_the_student_are_followed():
    student = nn.ModuleDict({"words": nn.Embedding(5, 4), "output": nn.Linear(4, 5, bias=False)})
    student["output"].weight = student["words"].weight
    twin = MomentumTwin(student, 0.25)
    old = student["words"].weight.detach().clone()
    move(student)
    twin.update()
    for name in ("words", "output"):
        torch.testing.assert_close(twin.network[name].weight, 0.25 * old + 0.75 * student["words"].weight.detach())


def test_both_can_be_moved_to_another_dtype():
    both = nn.ModuleDict({"model": Net()})
    both["twin"] = MomentumTwin(both["model"], 0.5)
    both.to(torch.float64)
    before = [tensor.clone() for tensor in both["twin"].followed()]
    move(both["model"])
    both["twin"].update()
    assert all(tensor.dtype == torch.float64 for tensor in before)
    for tensor, old, new in zip(both["twin"].followed(), before, both["model"].parameters(), strict=True):
        torch.testing.assert_close(tensor, (old + new.detach()) / 2)
    assert both["twin"].network(torch.randn(3, 4).double()).dtype == torch.float64


@pytest.mark.parametrize("momentum", [-0.1, 1.5])
def test_a_momentum_is_a_share(momentum):
    with pytest.raises(ValueError, match=r"momentum is .*; it is a share from 0 \(the student\) to 1 \(frozen\)"):
        MomentumTwin(Net(), momentum)


class Learner(nn.Module):
    """A student beside a frozen network, as BEiT beside its tokenizer."""

    def __init__(self, saved: bool = True) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.tokenizer = Frozen(Net(), saved)


def test_a_frozen_network_answers_and_does_not_learn():
    student, net = Learner(), Net().eval()
    student.tokenizer = Frozen(copy.deepcopy(net))
    x = torch.randn(5, 4, requires_grad=True)
    assert torch.equal(student.tokenizer.network(x), net(x))
    assert [name for name, _ in student.named_parameters()] == ["body.weight", "body.bias"]
    student.tokenizer.network(x).sum().backward()
    assert x.grad.abs().sum() > 0 and all(value.grad is None for value in student.tokenizer.buffers())


def test_a_frozen_network_stays_in_evaluation_mode():
    student, x = Learner().train(), 3 + torch.randn(50, 4)
    assert student.training and not any(module.training for module in student.tokenizer.network.modules())
    before = student.tokenizer.network(x)
    assert torch.equal(student.train().tokenizer.network(x), before)  # BatchNorm counts nothing
    assert student.tokenizer.network.body[1].num_batches_tracked == 0


@pytest.mark.parametrize("saved", [True, False])
def test_a_frozen_network_is_saved_or_left_to_its_maker(saved):
    student = Learner(saved)
    names = set(student.state_dict())
    inner = {f"tokenizer.network.{name}" for name in Net().state_dict()}
    assert names == {"body.weight", "body.bias"} | (inner if saved else set())
    again = Learner(saved)
    again.load_state_dict(student.state_dict())
    x = torch.randn(5, 4)
    assert torch.equal(again.tokenizer.network(x), student.tokenizer.network(x)) == saved
    student.to(torch.float64)
    assert {value.dtype for value in student.tokenizer.buffers()} == {torch.float64, torch.int64}
    student.to("meta")
    assert all(value.is_meta for value in student.tokenizer.buffers())


def test_a_twin_works_in_the_mode_of_its_task():
    twin = MomentumTwin(Net().train())
    assert twin.network.body[1].training
    assert not twin.eval().network.body[1].training and twin.train().network.body[1].training

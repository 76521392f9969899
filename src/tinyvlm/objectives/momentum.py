"""Networks beside the one that learns: a frozen one, and a slowly following twin with the queue of its features.

Twin and queue are the two things with memory in contrastive learning with momentum (He et al. 2019, MoCo; Li et al.
2021, ALBEF).
"""

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FeatureQueue(nn.Module):
    """The last `size` features of a teacher, as negatives beyond the batch; first in, first out.

    It starts with random unit vectors, as MoCo's does. Batches may have any size, also one that does not divide the
    queue's: the ring wraps around. State is in buffers, so that checkpoints hold it.
    """

    features: Tensor
    place: Tensor

    def __init__(self, size: int, width: int):
        super().__init__()
        if size < 1:
            raise ValueError(f"FeatureQueue: size is {size}; it must hold at least 1 feature (leave it out for none)")
        self.register_buffer("features", F.normalize(torch.randn(size, width), dim=-1))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, rows: Float[Tensor, "b width"]) -> None:
        """Replace the oldest features by `rows`. Call it *after* the loss: a batch must not be its own negative."""
        size = len(self.features)
        rows = rows[-size:]
        places = (self.place + torch.arange(len(rows), device=rows.device)) % size
        # A new tensor, because autograd may still hold the old one for a backward to come.
        self.features = self.features.index_copy(0, places, rows.to(self.features))
        self.place = (self.place + len(rows)) % size


def as_buffers(network: nn.Module, saved: bool = True) -> list[str]:
    """Turn the network's parameters into buffers, in place; returns their names.

    No optimiser sees them then and no gradient reaches them, and still they follow `.to(device)`, which a network held
    in a tuple does not. `saved=False` leaves them and the network's own buffers out of checkpoints.
    """
    names: list[str] = []
    for prefix, module in network.named_modules():
        for name, parameter in list(module._parameters.items()):
            del module._parameters[name]
            if parameter is None:
                module.register_parameter(name, None)
                continue
            module.register_buffer(name, parameter.detach().clone())
            names.append(f"{prefix}.{name}" if prefix else name)
        if not saved:
            module._non_persistent_buffers_set.update(module._buffers)
    return names


class Frozen(nn.Module):
    """A network that only answers, in evaluation mode whatever the task around it does (BEiT's visual tokenizer).

    Its parameters become buffers, see `as_buffers`; `saved=False` suits a network that its maker can load again. The
    network is taken over, not copied: hand in a copy of one that shall go on learning. Use it as `frozen.network`.
    """

    def __init__(self, network: nn.Module, saved: bool = True):
        super().__init__()
        self.network = network.eval()
        as_buffers(network, saved)

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.network.eval()
        return self


class MomentumTwin(nn.Module):
    """A slowly following copy of a network: twin <- momentum * twin + (1 - momentum) * student.

    The copy's parameters are buffers (`as_buffers`), and checkpoints hold them. It works in the mode of the task around
    it, dropout included. Only the student's parameters are followed, not its buffers (BatchNorm's statistics are the
    twin's own), as in the official codes. Call `update` *before* the twin is used in a step. Use the copy as
    `twin.network`; it lacks the parts of the student that `leave_out` names (heads without use).
    """

    def __init__(self, student: nn.Module, momentum: float = 0.995, leave_out: Iterable[str] = ()):
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"MomentumTwin: momentum is {momentum}; it is a share from 0 (the student) to 1 (frozen)")
        self.momentum = momentum
        self.network = copy.deepcopy(student)
        for part in leave_out:
            delattr(self.network, part)
        self._names = as_buffers(self.network)
        # Not as a submodule: the student belongs to somebody else, and would be saved twice.
        self._student = (student,)

    @torch.no_grad()
    def update(self) -> None:
        """One step towards the student, all tensors at once."""
        theirs = dict(self._student[0].named_parameters(remove_duplicate=False))  # tied weights under all their names
        mine = dict(self.network.named_buffers())
        torch._foreach_lerp_(
            [mine[n] for n in self._names], [theirs[n].detach() for n in self._names], 1 - self.momentum
        )

    def followed(self) -> Iterable[Tensor]:
        """The tensors that follow the student's parameters."""
        mine = dict(self.network.named_buffers())
        return [mine[name] for name in self._names]

"""The two things with memory in contrastive learning with momentum (He et al. 2019, MoCo; Li et al. 2021, ALBEF)."""

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


class MomentumTwin(nn.Module):
    """A slowly following copy of a network: twin <- momentum * twin + (1 - momentum) * student.

    The copy's parameters are buffers: no optimiser sees them, no gradient reaches them, checkpoints hold them. Only the
    student's parameters are followed, not its buffers (BatchNorm's statistics are the twin's own), as in the official
    codes. Call `update` *before* the twin is used in a step. Use the copy as `twin.network`; it lacks the parts of the
    student that `leave_out` names (heads that nobody asks).
    """

    def __init__(self, student: nn.Module, momentum: float = 0.995, leave_out: Iterable[str] = ()):
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"MomentumTwin: momentum is {momentum}; it is a share from 0 (the student) to 1 (frozen)")
        self.momentum = momentum
        self.network = copy.deepcopy(student)
        for part in leave_out:
            delattr(self.network, part)
        names: list[str] = []
        for prefix, module in self.network.named_modules():
            for name, parameter in list(module._parameters.items()):
                del module._parameters[name]
                if parameter is None:
                    module.register_parameter(name, None)
                    continue
                module.register_buffer(name, parameter.detach().clone())
                names.append(f"{prefix}.{name}" if prefix else name)
        self._names = names
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

"""One training step: losses added over processes, backward, clipping, the optimisers' update."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tinyvlm.models.task import Batch, Task, Term
from tinyvlm.training.hardware import seed_device, step_seed
from tinyvlm.training.history import NonFiniteLoss
from tinyvlm.training.stages import Stage, set_rates

if TYPE_CHECKING:
    from accelerate import Accelerator


class _Net(nn.Module):
    """The only call that DDP and autocast wrap. Accelerate marks what it wraps, and a task must stay clean."""

    def __init__(self, task: Task):
        super().__init__()
        self.task = task

    def forward(self, batch: Batch) -> dict[str, Term]:
        return self.task(batch)


def combine(
    terms: Mapping[str, Term], add: Callable[[Tensor], Tensor] = lambda x: x, world: int = 1, flag: bool = False
) -> tuple[Tensor, Tensor]:
    """Loss to differentiate, and the values to report: each term's mean over all processes, then the added `flag`.

    `add` sums a tensor over the `world` processes. DDP averages gradients over processes where the loss of the whole
    batch needs their sum, hence the factor `world`.
    """
    sums = torch.stack([term.sum.float() for term in terms.values()])
    counts = torch.stack([torch.as_tensor(term.count, device=sums.device).float() for term in terms.values()])
    total_sums, total_counts, flags = add(torch.cat([sums.detach(), counts, sums.new_full((1,), float(flag))])).split(
        [len(terms), len(terms), 1]
    )
    total_counts = total_counts.clamp_min(1)
    return (sums / total_counts).sum() * world, torch.cat([total_sums / total_counts, flags])


class Update:
    """`update(step, batch, stop)` trains one step of a stage and returns (names, values).

    `values` is on the device: the mean of each named loss, the flag `stop` added over processes, the gradient's norm
    before clipping. On the CPU they are checked before any weight changes; elsewhere the caller checks them later.
    """

    def __init__(
        self,
        task: Task,
        stage: Stage,
        parameters: Sequence[nn.Parameter],
        optimisers: Sequence[torch.optim.Optimizer],
        accelerator: "Accelerator",
        seed: int,
    ):
        self.task, self.stage, self.seed = task, stage, seed
        self.parameters, self.optimisers, self.accelerator = parameters, optimisers, accelerator
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.scaler = accelerator.scaler
        self.net = accelerator.prepare(_Net(task))

    def __call__(self, step: int, batch: Batch, stop: bool = False) -> tuple[list[str], Tensor]:
        own = step_seed(self.seed, self.stage.name, step, self.rank)
        seed_device(own, self.accelerator.device)  # dropout draws from there
        self.task.before_step()
        with torch.no_grad():
            batch = self.task.prepare(batch, torch.Generator().manual_seed(own))
        terms = self.net(batch)
        loss, values = combine(terms, self._add, self.world, stop)
        early = values.device.type == "cpu"
        if early:
            self.check(step, list(terms), values.tolist())
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        norm = self._clip()
        if early:
            self.check(step, ["gradient norm"], [float(norm)])
        set_rates(self.stage, self.optimisers, step)
        for optimiser in self.optimisers:
            optimiser.step() if self.scaler is None else self.scaler.step(optimiser)
        if self.scaler is not None:
            self.scaler.update()
        self.task.after_step(batch)
        return list(terms), torch.cat([values, norm.detach().float().reshape(1)])

    def check(self, step: int, names: Sequence[str], values: Sequence[float], more: str = "") -> None:
        """Raise NonFiniteLoss for the first value that is not a finite number."""
        for name, value in zip(names, values, strict=False):
            if not math.isfinite(value):
                raise NonFiniteLoss(
                    f"Stage {self.stage.name!r}, step {step + 1}: {name} is {value} on {self._describe(step)}: lower "
                    f"the learning rate, lengthen the warm-up or look at that batch{more}."
                )

    def _add(self, values: Tensor) -> Tensor:
        return self.accelerator.reduce(values, "sum") if self.world > 1 else values

    def _clip(self) -> Tensor:
        if self.scaler is not None:
            for optimiser in self.optimisers:
                self.scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(self.parameters, math.inf if self.stage.clip is None else self.stage.clip)
        # In fp16 an overflowing gradient is expected now and then: the scaler skips that step and lowers its factor.
        return norm if self.scaler is None else torch.zeros_like(norm)

    def _describe(self, step: int) -> str:
        """Which batch it was. The source is a pure function of the step, so it is asked again."""
        index = self.stage.source(step, self.rank, self.world).get("index")
        if index is None:
            return f"batch {step} of the stage's source"
        shown = ", ".join(str(i) for i in index.flatten()[:8].tolist())
        return f"batch {step} with indices {shown}{', …' if index.numel() > 8 else ''} ({index.numel()} samples)"

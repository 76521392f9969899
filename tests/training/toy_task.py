"""A task small enough to train in milliseconds that still uses all a trainer must keep: draws, state, two losses."""

import torch
from torch import Tensor, nn

from tinyvlm.models.task import Task, Term
from tinyvlm.training import Optimiser, Schedule, Stage


class Net(nn.Module):
    def __init__(self, drop: float = 0.0):
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.stem(x)).relu()))


class Toy(Task):
    """Classification and a decoder of the input's sum, with noise from `prepare` and a counter as state."""

    noise = 0.1

    def __init__(self, seed: int = 0, drop: float = 0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = Net(drop)
            self.decoder = nn.Linear(3, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.calls: list[str] = []

    def before_step(self) -> None:
        self.calls.append("before_step")

    def prepare(self, batch, rng):
        self.calls.append("prepare")
        return dict(batch) | {"x": batch["x"] + self.noise * torch.randn(batch["x"].shape, generator=rng)}

    def forward(self, batch) -> dict[str, Term]:
        self.calls.append("forward")
        logits = self.model(batch["x"])
        wrong = nn.functional.cross_entropy(logits, batch["label"], reduction="none") * batch["mask"]
        apart = (self.decoder(logits)[:, 0] - batch["x"].sum(1)).square()
        return {
            "classification": Term(wrong.sum(), batch["mask"].sum()),
            "regression": Term(0.1 * apart.sum(), torch.tensor(len(apart))),
        }

    def after_step(self, batch) -> None:
        self.calls.append("after_step")
        self.seen += 1


def source(batch: int = 8):
    """Batches that are pure functions of the step. Some samples have no label, unevenly over the batch."""

    def make(step: int, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(1000 + step)
        x = torch.randn(batch, 6, generator=rng)
        part = slice(rank * batch // world, (rank + 1) * batch // world)
        rows = {
            "x": x,
            "label": (x[:, 0] > 0).long() + (x[:, 1] > 0).long(),
            "mask": (torch.arange(batch) < 5).float(),
            "index": torch.arange(step * batch, (step + 1) * batch),
        }
        return {key: value[part] for key, value in rows.items()}

    return make


def stages(steps: int = 12) -> list[Stage]:
    """Two stages: the head alone, then everything with two optimisers."""
    return [
        Stage("head", steps // 3, source(), trainable="head|decoder", optimisers=(Optimiser(lr=0.01),)),
        Stage(
            "all",
            steps - steps // 3,
            source(),
            optimisers=(Optimiser("sgd", lr=0.05, parameters="stem"), Optimiser(lr=0.02)),
            schedule=Schedule(2, "cosine", 0.1),
        ),
    ]


def weights(task: Task) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}

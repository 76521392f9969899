"""What each of the two processes of `test_two_processes` computes. A file of its own, so that they can import it."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from tinyvlm.encoders import TextConfig, VisionConfig
from tinyvlm.models import CLIP, CLIPConfig, CLIPTask
from tinyvlm.models.task import Batch
from tinyvlm.objectives import Gather, gather_with_gradient

PAIRS = 6
CONFIG = CLIPConfig(
    vision=VisionConfig(image_size=8, patch=4, width=12, layers=2, heads=2, hidden=16, norm_before=True),
    text=TextConfig(vocabulary=20, context=6, width=12, layers=2, heads=2, hidden=16),
    embedding=8,
)


def gather_without_gradient(rows: Tensor) -> tuple[Tensor, int]:
    """The common mistake: candidates of other processes as constants (own rows keep their gradient)."""
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.detach())
    parts[dist.get_rank()] = rows
    return torch.cat(parts), dist.get_rank() * len(rows)


GATHERS: dict[str, Gather] = {"with": gather_with_gradient, "without": gather_without_gradient}


def whole_batch(negatives: bool) -> Batch:
    generator = torch.Generator().manual_seed(5)
    batch = {
        "image": torch.randn(PAIRS, 3, 8, 8, generator=generator),
        "text": torch.randint(1, 20, (PAIRS, 6), generator=generator),
        "text_mask": torch.arange(6)[None] < torch.randint(2, 7, (PAIRS, 1), generator=generator),
    }
    if negatives:
        batch["negatives"] = torch.randint(1, 20, (PAIRS, 2, 6), generator=generator)
        batch["negatives_text_mask"] = torch.ones(PAIRS, 2, 6, dtype=torch.bool)
        batch["negatives_mask"] = torch.rand(PAIRS, 2, generator=generator) < 0.7
    return batch


def loss_and_gradients(batch: Batch, gather: Gather, count: int) -> dict[str, Tensor]:
    """As a trainer: this process's sum divided by everybody's count."""
    torch.manual_seed(1)
    task = CLIPTask(CLIP(CONFIG), gather=gather).double()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    loss = task(batch)["contrastive"].sum / count
    loss.backward()
    return {"loss": loss.detach(), **{name: value.grad for name, value in task.named_parameters()}}


def shared_gradient(rank: int) -> Tensor:
    """Gradient of gathered rows whose gradient autograd hands to a second branch too."""
    rows = torch.full((2, 3), float(rank + 1), requires_grad=True)
    leaf = torch.zeros(4, 3, requires_grad=True)
    other = leaf * 1.0  # made before the gathering, so that its backward runs after it
    gathered, _ = gather_with_gradient(rows)
    weight = torch.arange(12.0).reshape(4, 3)
    ((gathered + other) * weight).sum().backward()
    return torch.cat([rows.grad, leaf.grad])


def main(rank: int, world: int, address: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world, timeout=timedelta(seconds=120))
    results: dict[str, object] = {"shared": shared_gradient(rank)}
    for name, gather in GATHERS.items():
        for negatives in (False, True):
            batch = whole_batch(negatives)
            share = PAIRS // world
            part = {key: value[rank * share : (rank + 1) * share] for key, value in batch.items()}
            results[f"{name} {negatives}"] = found = loss_and_gradients(part, gather, PAIRS)
            for value in found.values():
                dist.all_reduce(value)
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])

"""What each of the two processes of `test_two_processes` computes. A file of its own, so that they can import it."""

import itertools
import sys
from datetime import timedelta
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor

from tinyvlm.encoders import BertConfig, VisionConfig
from tinyvlm.encoders.resnet import ResNetConfig
from tinyvlm.models import (
    ALBEF,
    ALBEFConfig,
    ALBEFTask,
    PixelBERT,
    PixelBERTConfig,
    PixelBERTTask,
    albef_task,
    pixel_bert,
)
from tinyvlm.models import task as every_task
from tinyvlm.models.task import Batch, Task
from tinyvlm.objectives import Gather, alone, gather_with_gradient, uniform_rates

PAIRS, LENGTH, WORDS, STEPS, QUEUE = 6, 6, 20, 2, 8  # the second step's keys wrap around the queue's end
BERT = BertConfig(
    vocabulary=WORDS, context=LENGTH, width=8, layers=2, heads=2, hidden=12, eps=1e-5, std=0.3, word_std=1.0
)
TWO_TOWERS = ALBEFConfig(
    vision=VisionConfig(image_size=8, patch=4, width=8, layers=1, heads=2, hidden=12, class_token=False),
    bert=BERT, fusion=1, embedding=6, pool="mean", temperature=0.2, mask_id=3,
)  # fmt: skip
ONE_STREAM = PixelBERTConfig(
    trunk=ResNetConfig(image_size=8, stem=4, small_stem=True, depths=(1, 1), widths=(4, 6), bottleneck=False),
    bert=BERT, max_pool=False, pool="mean", mask_id=3,
)  # fmt: skip
# Negatives inside each half, so that one process finds the same pairs as two: first wrong pictures, then wrong texts.
WRONG = (torch.tensor([1, 2, 0, 4, 5, 3]), torch.tensor([2, 0, 1, 5, 3, 4]))


def whole_batch() -> Batch:
    """Pairs, and which words are hidden; the halves hide different numbers of them."""
    generator = torch.Generator().manual_seed(5)
    text = torch.randint(4, WORDS, (PAIRS, LENGTH), generator=generator)
    chosen = torch.zeros(PAIRS, LENGTH, dtype=torch.bool)
    chosen[[0, 2, 3, 3, 4, 5, 5], [0, 1, 0, 1, 1, 0, 1]] = True
    return {
        "image": torch.randint(256, (PAIRS, 3, 8, 8), generator=generator, dtype=torch.uint8),
        "text": text,
        "text_mask": torch.arange(LENGTH)[None] < torch.randint(2, LENGTH + 1, (PAIRS, 1), generator=generator),
        "masked": torch.where(chosen, 3, text),
        "chosen": chosen,
    }


def steps(task: Task, batch: Batch, count: int = STEPS) -> dict[str, Tensor]:
    """Each term and its gradient as a trainer computes them, the process's sum divided by everybody's count.

    Nothing is optimised: between the steps only twins and queues move. Draws are those of `batch`.
    """
    negatives = itertools.cycle(WRONG)
    draws = {"mask_tokens": lambda *_: (batch["masked"], batch["chosen"])}
    of_albef = {**draws, "draw_negatives": lambda similarity, *_: next(negatives)[: len(similarity)]}
    found: dict[str, Tensor] = {}
    with (
        mock.patch.multiple(albef_task, **of_albef),
        mock.patch.multiple(pixel_bert, **draws),
        mock.patch.object(every_task, "normalise", lambda image: image.double() / 127.5 - 1),
    ):
        for step in range(count):
            task.before_step()
            with torch.no_grad():
                drawn = task.prepare(batch, torch.Generator())
            names, weights = zip(*task.model.named_parameters(), strict=True)
            for name, term in task(drawn).items():
                everybody = term.count.clone()
                if dist.is_initialized():
                    dist.all_reduce(everybody)
                loss = term.sum / everybody
                gradients = torch.autograd.grad(loss, weights, retain_graph=True, materialize_grads=True)
                found[f"{step} {name} loss"] = loss.detach()
                found |= {f"{step} {name} {weight}": g for weight, g in zip(names, gradients, strict=True)}
            task.after_step(drawn)
    return found


@torch.no_grad()
def perturb(model: torch.nn.Module) -> None:
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.mul_(1 + 0.3 * torch.rand_like(value))


def albef_run(batch: Batch, gather: Gather) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Terms and gradients, and what the queues hold in the end."""
    torch.manual_seed(1)
    task = ALBEFTask(
        ALBEF(TWO_TOWERS), uniform_rates(WORDS, 4), momentum=0.5, queue=QUEUE, alpha=0.4, ramp=2, gather=gather
    ).double()
    perturb(task.model)  # the twin stays behind, and moves in `before_step`
    task.updates += 1  # so that the twin has a say
    found = steps(task, batch)
    assert task.image_queue is not None and task.text_queue is not None
    queues = {"image": task.image_queue, "text": task.text_queue}
    state = {f"{name} {key}": value for name, queue in queues.items() for key, value in queue.state_dict().items()}
    return found, state


def pixel_bert_run(batch: Batch, frozen: bool) -> dict[str, Tensor]:
    torch.manual_seed(1)
    task = PixelBERTTask(PixelBERT(ONE_STREAM), uniform_rates(WORDS, 4), itm=False, frozen_norm=frozen).double()
    perturb(task.model)
    return steps(task.train(), batch, 1)


def main(rank: int, world: int, address: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world, timeout=timedelta(seconds=120))
    share = PAIRS // world
    part = {key: value[rank * share : (rank + 1) * share] for key, value in whole_batch().items()}
    results: dict[str, dict[str, Tensor]] = {}
    results["ALBEF"], results["queues"] = albef_run(part, gather_with_gradient)
    results["ALBEF by itself"], _ = albef_run(part, alone)
    results["Pixel-BERT"] = pixel_bert_run(part, frozen=True)
    results["Pixel-BERT, live norm"] = pixel_bert_run(part, frozen=False)
    for name, found in results.items():
        if name != "queues":
            for value in found.values():
                dist.all_reduce(value)
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])

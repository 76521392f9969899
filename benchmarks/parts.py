"""Smaller things: metrics, momentum update, making a batch, importing."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tinyvlm.experiments import week03
from tinyvlm.metrics.retrieval import recall_at_k
from tinyvlm.models import CLIP, CLIPTask

Contenders = dict[str, Callable[[], object]]


def recall(n: int = 2000) -> tuple[str, Contenders]:
    """Recall@1 both ways of n pairs against sorting every row, as evaluation scripts commonly do."""
    scores = torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    table = scores.numpy()

    def rows() -> float:
        hits = 0.0
        for matrix in (table, table.T):
            ranks = [int(np.where(np.argsort(row)[::-1] == i)[0][0]) for i, row in enumerate(matrix)]
            hits += float(np.mean(np.array(ranks) < 1))
        return hits / 2

    assert abs(rows() - recall_at_k(scores, 1).mean) < 1e-9
    return f"Recall@1 both ways, {n:,} pairs", {"tinyvlm": lambda: recall_at_k(scores, 1), "argsort per row": rows}


def cider(images: int = 2000, references: int = 5) -> tuple[str, Contenders]:
    """CIDEr-D of captions drawn word by word from a Zipf-like vocabulary, COCO's sizes, against COCO's own scorer."""
    from pycocoevalcap.cider.cider import Cider

    from tinyvlm.metrics import cider_d

    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(8000)])
    chance = 1 / np.arange(1, len(words) + 1)

    def caption() -> str:
        return " ".join(rng.choice(words, size=rng.integers(8, 15), p=chance / chance.sum()))

    true = [[caption() for _ in range(references)] for _ in range(images)]
    said = [caption() for _ in range(images)]
    theirs = Cider()
    tables = {i: list(row) for i, row in enumerate(true)}, {i: [row] for i, row in enumerate(said)}
    assert abs(theirs.compute_score(*tables)[0] - cider_d(said, true).mean) < 1e-9
    return f"CIDEr-D, {images:,} images with {references} references", {
        "tinyvlm": lambda: cider_d(said, true),
        "pycocoevalcap": lambda: theirs.compute_score(*tables),
    }


def momentum() -> tuple[str, Contenders]:
    """An exponential moving average of ViT-S-sized weights (21M): foreach against a loop over tensors."""
    from tinyvlm.models import ViT

    model = ViT.named("S/16", classes=0)
    twin = copy.deepcopy(model)
    new, old = list(model.parameters()), list(twin.parameters())

    @torch.no_grad()
    def loop() -> None:
        for a, b in zip(old, new, strict=True):
            a.data = a.data * 0.995 + b.data * 0.005

    @torch.no_grad()
    def foreach() -> None:
        torch._foreach_lerp_(old, new, 0.005)

    return f"EMA update, {model.count():,} parameters", {"tinyvlm (foreach)": foreach, "loop over tensors": loop}


def batch(size: int = 128) -> tuple[str, Contenders]:
    """Making a batch of chapter 3 against the training step that uses it."""
    world = week03.world("train", 0, 48)
    task = CLIPTask(CLIP.named("micro")).train()
    optimiser = torch.optim.AdamW(task.parameters(), lr=1e-3)
    made, place = world.batch(range(size)), iter(range(10**9))

    def make() -> None:
        start = next(place) * size
        world.batch(range(start, start + size))

    def step() -> None:
        task(task.prepare(made, torch.Generator()))["contrastive"].mean.backward()
        optimiser.step()
        optimiser.zero_grad()

    return f"a batch of {size} scenes, against the CLIP micro step it feeds", {"tinyvlm (batch)": make, "step": step}


def imports() -> tuple[str, Contenders]:
    """A fresh interpreter that imports torch, and one that imports the core's CLIP and its data as well."""

    def fresh(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    return "a fresh interpreter", {
        "tinyvlm (import torch, CLIP and World)": fresh(
            "import torch; from tinyvlm.models import CLIP; from tinyvlm.data import World"
        ),
        "import torch alone": fresh("import torch"),
    }


def installed_size() -> float:
    """Megabytes of the installed core: code, shipped data and weights."""
    import tinyvlm

    files = Path(tinyvlm.__file__).parent.rglob("*")
    return sum(f.stat().st_size for f in files if f.is_file() and "__pycache__" not in f.parts) / 2**20

"""What every test starts from: checked shapes, one thread, fixed seeds, no network, no settings of the caller's."""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# Before anything imports these libraries: no test may reach a hub, open a window or start a pool of threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _name in ("TINYVLM_PRESET", "TINYVLM_RECEIPT"):
    os.environ.pop(_name, None)

from jaxtyping import install_import_hook

# Shapes in signatures are checked here and nowhere else: under torch.compile(fullgraph=True) the hook breaks the graph.
CHECKED = ("tinyvlm.layers", "tinyvlm.encoders", "tinyvlm.objectives", "tinyvlm.models", "tinyvlm.metrics")
install_import_hook(list(CHECKED), "beartype.beartype")

import hypothesis
import numpy as np
import pytest
import torch

torch.set_num_threads(1)

# Examples are the same on every machine, and a slow shared core is not a failure.
hypothesis.settings.register_profile("course", deadline=None, derandomize=True, max_examples=40, database=None)
hypothesis.settings.load_profile("course")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test draws from the same fresh generators, whatever ran before it in this process."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def rng() -> torch.Generator:
    """A seeded generator on the CPU."""
    return torch.Generator().manual_seed(0)


def _two_ranks(worker: Path, folder: Path) -> list[dict]:
    """Run `worker RANK 2 ADDRESS FOLDER` for both ranks; returns what each saved as RANK.pt, in order."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if "lo" in (name for _, name in socket.if_nameindex()):
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # whatever this machine's name resolves to
    command = [sys.executable, str(worker)]
    arguments = ["2", (folder / "rendezvous").as_uri(), str(folder)]  # a file: ports can be taken by others
    processes = [subprocess.Popen([*command, str(rank), *arguments], env=environment) for rank in range(2)]
    try:
        codes = [process.wait(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="session")
def two_ranks() -> Callable[[Path, Path], list[dict]]:
    """`two_ranks(worker, folder)` runs a file as two gloo processes."""
    return _two_ranks

"""What the run stands on: device, precision, processes, peak memory. Accelerate is imported only when asked."""

import hashlib
import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from accelerate import Accelerator


def precision(device_type: str, capability: tuple[int, int] = (0, 0)) -> str:
    """Mixed precision for a device: bf16 on CUDA from compute capability 8, fp16 below, none elsewhere.

    On CPU bf16 autocast made a small model slower (562 against 333 ms a step), so it stays in float32.
    """
    if device_type != "cuda":
        return "no"
    return "bf16" if capability[0] >= 8 else "fp16"


def start(device: str | None = None) -> "Accelerator":
    """An Accelerator for this process: `device` None lets Accelerate choose, "cpu", "cuda" or "mps" insist.

    Under `accelerate launch` or torchrun it joins the process group. Raises ValueError when the device is not there.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    kind = None if device is None else str(device).partition(":")[0]
    if kind not in (None, "cpu", "cuda", "mps"):
        raise ValueError(f"Device {device!r} is unknown: choose cpu, cuda or mps, or None for the best one here.")
    cuda = torch.cuda.is_available() and kind in (None, "cuda")
    mode = precision("cuda", torch.cuda.get_device_capability()) if cuda else "no"
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        # Accelerate keeps its first choice of device and precision for the life of the process; a notebook that trains
        # on the CPU and then on the GPU needs a fresh choice. A process group, once joined, must stay.
        AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=kind == "cpu",
        mixed_precision=mode,
        # A stage may leave a part of the network unused, which DDP otherwise takes for an error.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if kind is not None and accelerator.device.type != kind:
        raise ValueError(
            f"Device {device!r} is not available here, only {accelerator.device.type}: leave device=None to use that."
        )
    return accelerator


def step_seed(seed: int, stage: str, step: int, rank: int) -> int:
    """Seed of one step's random draws: a hash, so that a resumed run needs no generator state."""
    digest = hashlib.blake2b(f"{seed}/{stage}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the default generators of the CPU and `device`; `torch.manual_seed` asks every kind of device each time."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Copy a batch to `device`; through pinned memory for CUDA, so that the copy overlaps with computation."""
    if device.type == "cpu":
        return batch
    if device.type == "cuda":
        batch = {key: value.pin_memory() for key, value in batch.items()}
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}


def device_name(device: torch.device | str | None = None) -> str:
    """The device in words for receipts, as "NVIDIA T4" or "CPU, 2 threads"."""
    kind = torch.device(device).type if device is not None else "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return kind.upper() + (f", {threads} thread{'s' * (threads > 1)}" if kind == "cpu" else "")


def peak_memory_mb(device: torch.device | str | None = None) -> float | None:
    """Peak memory in MB (2**20 bytes): of the GPU's allocator when it was used, else of this process.

    None where the operating system does not say (Windows).
    """
    kind = torch.device(device).type if device is not None else "cuda"
    if kind == "cuda" and torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if os.uname().sysname == "Darwin" else 2**10)  # macOS counts bytes, Linux KB

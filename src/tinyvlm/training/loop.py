"""The training loop: CPU, one GPU, or many processes under `accelerate launch`.

    history = fit(task, [Stage("train", 1200, world.source(128))], seed=0, folder="runs/clip")

A step is `update.Update`; what surrounds it is here: stages, checkpoints, history, progress, interrupts.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from tinyvlm.models.task import Task
from tinyvlm.training import hardware
from tinyvlm.training.batches import batches, size
from tinyvlm.training.checkpoints import Checkpoints, load_optimisers, optimiser_tensors
from tinyvlm.training.history import History, Log, Pending, Record, tell
from tinyvlm.training.interrupt import Interrupt
from tinyvlm.training.progress import make
from tinyvlm.training.stages import Stage, build_optimisers, only_trainable
from tinyvlm.training.update import Update

READ_EVERY = 20  # steps between two readings of the losses from a GPU


def fit(
    task: Task,
    stages: Stage | Sequence[Stage],
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    save_every: int | None = None,
    keep: int = 2,
    resume: bool = True,
    device: str | None = None,
    progress: str | None = "text",
    on_step: Callable[[int, int], None] | None = None,
) -> History:
    """Train `task` through `stages`, in place, and return its history.

    The loss of a step is the sum over the task's terms of sum / count, counts added over all processes. On CUDA the
    task runs in bf16, or fp16 below compute capability 8. All random draws of a step, `prepare`'s generator included,
    follow from (seed, stage, step, rank).

    seed: of the draws within steps; weights and data have their own.
    folder: where checkpoints and log.jsonl go. With `resume`, a run that was killed at any moment continues from its
      newest checkpoint and on the CPU ends in the same bits as one that was not; a finished run is only loaded.
    save_every: steps between checkpoints (None: about ten a run); the end of a stage and an interrupt always save.
    keep: how many checkpoints stay.
    device: "cpu", "cuda" or "mps"; None for the best one here.
    progress: "text" lines, "live" curve in a notebook, or None for silence.
    on_step: called as on_step(done, total) after every step.

    Interrupting (Ctrl-C, or the notebook's stop button) ends after the current step with `interrupted=True` and the
    work kept; a second interrupt is not held back.

    Raises NonFiniteLoss, with the last good checkpoint left in place; ValueError for settings that cannot be, and for
    a damaged or foreign checkpoint; OSError when the folder cannot be written.
    """
    plan = [stages] if isinstance(stages, Stage) else list(stages)
    names = [stage.name for stage in plan]
    if not plan or len(set(names)) < len(names):
        raise ValueError(f"A run needs stages with different names, not {names}: give each Stage its own name.")
    if save_every is not None and save_every < 1:
        raise ValueError(f"save_every={save_every}: give a number of steps, or None for about ten checkpoints a run.")
    mode, random_state = task.training, torch.get_rng_state()
    try:
        run = _Run(task, plan, seed, device, on_step)
        if folder is not None:
            run.open(Path(folder), save_every, keep, resume)
        history = run.train(progress)
        tell(history)
        return history
    finally:
        task.train(mode)
        torch.set_rng_state(random_state)


class _Run:
    """State of one call of `fit`."""

    def __init__(
        self,
        task: Task,
        plan: list[Stage],
        seed: int,
        device: str | None,
        on_step: Callable[[int, int], None] | None,
    ):
        self.task, self.plan, self.seed, self.on_step = task, plan, seed, on_step
        self.accelerator = hardware.start(device)
        self.device = self.accelerator.device
        task.to(self.device)
        self.total = sum(stage.steps for stage in plan)
        self.save_every = 0  # 0: never
        self.store: Checkpoints | None = None
        self.log: Log | None = None
        self.history = History(device=hardware.device_name(self.device))
        self.optimisers: list[torch.optim.Optimizer] = []
        self.loaded: Mapping[str, Tensor] = {}  # optimiser state that waits for its stage
        self.stage = self.step = 0  # the next one to do
        self.between_steps = True  # within one, state is half old and half new, and must not be saved
        self.interrupt = Interrupt()

    def open(self, folder: Path, save_every: int | None, keep: int, resume: bool) -> None:
        """Prepare the folder, and put back the newest checkpoint's state when resuming."""
        settings = {
            "task": type(self.task).__name__,
            "seed": self.seed,
            "parameters": {name: list(value.shape) for name, value in self.task.named_parameters()},
            "stages": [stage.settings() for stage in self.plan],
        }
        self.save_every = save_every or max(1, self.total // 10)
        self.store, self.log = Checkpoints(folder, settings, keep), Log(folder)
        if self.accelerator.is_main_process:
            self.store.prepare()
        self.accelerator.wait_for_everyone()
        done = 0
        found = self.store.load() if resume else None
        if found is not None:
            tensors, state = found
            self.task.load_state_dict(_below(tensors, "task/"))
            self.loaded = _below(tensors, "optimisers/")
            done, self.stage, self.step = state["step"], state["stage"], state["stage_step"]
            self.history.seconds, self.history.samples = state["seconds"], state["samples"]
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.accelerator.is_main_process:
            self.history.records = self.log.resume(done)
        else:
            self.history.records = self.log.read(done)

    def train(self, progress: str | None) -> History:
        self.began = time.perf_counter() - self.history.seconds
        main = self.accelerator.is_main_process
        self.display = make(progress if main else None, self.total, self.history.steps)
        with self.interrupt:
            while self.stage < len(self.plan) and not self.history.interrupted:
                self.train_stage(self.plan[self.stage])
        self.history.seconds = time.perf_counter() - self.began
        self.history.peak_memory_mb = hardware.peak_memory_mb(self.device)
        if self.display:
            self.display.finish(self.history)
        return self.history

    def train_stage(self, stage: Stage) -> None:
        with ExitStack() as stack:
            parameters = stack.enter_context(only_trainable(self.task, stage))
            self.optimisers = build_optimisers(stage, parameters)
            load_optimisers(self.optimisers, self.loaded)
            self.loaded = {}
            members = list(parameters.values())
            update = Update(self.task, stage, members, self.optimisers, self.accelerator, self.seed)
            self.task.train()
            self.pending = Pending(1 if self.device.type == "cpu" else READ_EVERY)
            steps = range(self.step, stage.steps)
            coming = stack.enter_context(batches(stage.source, steps, update.rank, update.world, self.device))
            try:
                self.train_steps(stage, update, coming)
            except KeyboardInterrupt:  # a second one, or one that a callback raised
                self.history.interrupted = True
                if self.between_steps:
                    self.read(stage, update)
                    self.save()

    def train_steps(self, stage: Stage, update: Update, coming: Iterator[tuple[int, dict[str, Tensor]]]) -> None:
        for step, batch in coming:
            self.between_steps = False
            self.pending.add(step, size(batch) * update.world, *update(step, batch, self.interrupt.asked))
            self.between_steps = True
            self.after(stage, step, update)
            if self.history.interrupted:
                return

    def after(self, stage: Stage, step: int, update: Update) -> None:
        """What follows a step: read the losses when due, save when due, notice an interrupt."""
        last = step + 1 == stage.steps
        self.stage, self.step = (self.stage + 1, 0) if last else (self.stage, step + 1)
        done = sum(one.steps for one in self.plan[: self.stage]) + self.step
        due = bool(self.save_every) and (done % self.save_every == 0 or last)
        # With many processes all must stop at one step, so they heed the flag that was added over processes.
        stop = self.interrupt.asked and update.world == 1
        if due or last or stop or self.pending.full:
            stop = self.read(stage, update) or stop
        if due or stop:
            self.save()
        self.history.interrupted = stop and done < self.total
        if self.on_step is not None:
            self.on_step(done, self.total)

    def read(self, stage: Stage, update: Update) -> bool:
        """Read the waiting values: check, note, show. Returns whether any process was asked to stop."""
        latest = self.store.latest() if self.store else None
        more = f"; the last good checkpoint is {latest}" if latest else ""
        records, stop = [], False
        for step, samples, names, (*losses, flag, norm) in self.pending.read():
            update.check(step, [*names, "gradient norm"], [*losses, norm], more)
            records.append(Record(stage.name, step + 1, sum(losses), dict(zip(names, losses, strict=True))))
            self.history.samples += samples
            stop = stop or flag > 0
            if self.display:
                self.display.step(records[-1], stage.steps, samples)
        self.history.records += records
        if self.log and self.accelerator.is_main_process:
            self.log.append(records)
        return stop

    def save(self) -> None:
        """Write a checkpoint of the present position, if there is a folder."""
        if self.store is None:
            return
        if self.accelerator.is_main_process:
            done = self.history.steps
            tensors = {f"task/{name}": value for name, value in self.task.state_dict().items()}
            if self.step:  # a stage begins with new optimisers
                tensors |= {f"optimisers/{name}": value for name, value in optimiser_tensors(self.optimisers).items()}
            state = {
                "stage": self.stage,
                "stage_step": self.step,
                "seconds": time.perf_counter() - self.began,
                "samples": self.history.samples,
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            }
            self.store.save(tensors, state, done)
        self.accelerator.wait_for_everyone()


def _below(rows: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in rows.items() if name.startswith(prefix)}

"""`fit`: what a step does, what is trained, what is reported, and what stops it."""

import math
import os
import signal
import threading
from types import SimpleNamespace

import pytest
import torch
from toy_task import Toy, source, stages, weights

from tinyvlm.models.task import Term
from tinyvlm.training import NonFiniteLoss, Optimiser, Schedule, Stage, fit
from tinyvlm.training.batches import batches
from tinyvlm.training.hardware import precision, step_seed
from tinyvlm.training.update import combine


def quiet(task, plan, **options):
    return fit(task, plan, progress=None, device="cpu", **options)


def test_training_lowers_both_losses():
    history = quiet(Toy(), stages(120))
    assert history.steps == 120 and history.samples == 960 and not history.interrupted
    for name in ("classification", "regression"):
        losses = history.losses[name]
        assert sum(losses[-20:]) < 0.6 * sum(losses[:20]), name
    assert history.samples_per_second > 0 and history.peak_memory_mb > 1 and history.device.startswith("CPU")


def test_a_step_equals_torch_written_out():
    """Four steps against plain torch: AdamW, clipping, schedule, decay groups."""
    ours, theirs = Toy(), Toy()
    rate, decay = 0.02, 0.3
    plan = Stage(
        "s", 4, source(), optimisers=(Optimiser(lr=rate, weight_decay=decay),), schedule=Schedule(2, "linear"), clip=0.5
    )
    quiet(ours, plan, seed=7)
    named = dict(theirs.named_parameters())
    matrices = [p for p in named.values() if p.ndim > 1]
    vectors = [p for p in named.values() if p.ndim == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}], betas=(0.9, 0.98)
    )
    for step, factor in enumerate((0.5, 1.0, 1.0, 0.0)):
        generator = torch.Generator().manual_seed(step_seed(7, "s", step, 0))
        terms = theirs(theirs.prepare(source()(step), generator))
        loss = sum(term.sum / term.count for term in terms.values())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(named.values(), 0.5)
        for group in optimiser.param_groups:
            group["lr"] = rate * factor
        optimiser.step()
    for name, value in ours.named_parameters():
        torch.testing.assert_close(value, named[name], atol=1e-6, rtol=1e-5)


def test_the_calls_come_in_the_order_of_the_contract():
    task = Toy()
    quiet(task, Stage("s", 2, source()))
    assert task.calls == ["before_step", "prepare", "forward", "after_step"] * 2
    assert int(task.seen) == 2


def test_prepare_knows_no_gradient_and_after_step_gets_what_it_made():
    made, given = [], []

    class Watched(Toy):
        def prepare(self, batch, rng):
            made.append(super().prepare(batch, rng) | {"prediction": self.model(batch["x"])})
            return made[-1]

        def after_step(self, batch):
            super().after_step(batch)
            given.append(batch)

    quiet(Watched(), Stage("s", 3, source()))
    assert len(made) == 3 and all(one is other for one, other in zip(made, given, strict=True))
    assert not any(batch["prediction"].requires_grad for batch in made)


def test_freezing_trains_the_named_parts_only_and_is_undone():
    task = Toy()
    task.model.norm.weight.requires_grad_(False)
    before = weights(task)
    quiet(task, Stage("head", 5, source(), trainable="head|norm"))
    after = weights(task)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"model.head.weight", "model.head.bias", "model.norm.bias", "seen"}
    frozen = [name for name, p in task.named_parameters() if not p.requires_grad]
    assert frozen == ["model.norm.weight"]


def test_each_part_follows_its_own_optimiser():
    task = Toy()
    before = weights(task)
    plan = Stage("s", 4, source(), optimisers=(Optimiser(lr=0.0, parameters="stem"), Optimiser("sgd", lr=0.1)))
    quiet(task, plan)
    after = weights(task)
    assert torch.equal(before["model.stem.weight"], after["model.stem.weight"])
    assert not torch.equal(before["model.head.weight"], after["model.head.weight"])


def test_the_same_seed_gives_the_same_bits_and_the_callers_generator_is_left_alone():
    one, two, other = Toy(drop=0.3), Toy(drop=0.3), Toy(drop=0.3)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    quiet(one, stages(), seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    quiet(two, stages(), seed=1)
    quiet(other, stages(), seed=2)
    assert all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(two).values(), strict=True))
    assert not torch.equal(one.model.head.weight, other.model.head.weight)


def test_the_loss_of_unequal_halves_adds_up():
    """Two processes with 1 and 3 labelled samples: averaged gradients must be those of the four together."""
    values = torch.tensor([1.0, 2.0, 4.0, 9.0], requires_grad=True)
    parts = (values[:1], values[1:])
    totals = [torch.stack([part.sum().detach(), torch.tensor(float(len(part))), torch.tensor(0.0)]) for part in parts]
    added = sum(totals)
    losses = [combine({"x": Term(p.sum(), torch.tensor(len(p)))}, lambda _: added, 2)[0] for p in parts]
    (sum(losses) / 2).backward()
    torch.testing.assert_close(values.grad, torch.full((4,), 0.25))
    empty, reported = combine({"x": Term(torch.zeros((), requires_grad=True), torch.tensor(0))})
    assert empty.item() == 0 and reported.tolist() == [0, 0]


@pytest.mark.parametrize("steps", [1, 40, 1000])
def test_progress_is_a_dozen_lines_that_say_step_losses_speed_and_time_left(steps, capsys):
    fit(Toy(), Stage("pretrain", steps, source(2)), device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert min(steps, 10) < len(lines) <= 20 or steps == 1
    assert f"/{steps:,}  classification" in lines[-2] and "regression" in lines[-2] and "pretrain" in lines[-2]
    assert f"{steps:,} steps, {2 * steps:,} samples" in lines[-1] and "samples/s" in lines[-1]
    if steps > 1:
        assert "samples/s" in lines[3] and lines[3].endswith("left")


def test_live_progress_outside_a_notebook_is_text(capsys):
    fit(Toy(), Stage("s", 3, source()), device="cpu", progress="live")
    assert "step 3/3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shell", "receipt", "live"),
    [
        (None, "", False),
        (SimpleNamespace(config={}), "", False),
        (SimpleNamespace(config={"IPKernelApp": {}}), "", True),
        (SimpleNamespace(config={"IPKernelApp": {}}), "receipt.json", False),
    ],
    ids=["no IPython shell", "a terminal", "a notebook", "a run for the page"],
)
def test_a_curve_is_drawn_only_where_somebody_watches(shell, receipt, live, monkeypatch):
    ipython = pytest.importorskip("IPython", reason="the live curve is for notebooks, which have IPython")
    from tinyvlm.training import progress

    monkeypatch.setattr(ipython, "get_ipython", lambda: shell)
    monkeypatch.setenv("TINYVLM_RECEIPT", receipt)
    assert progress._in_live_notebook() is live


def test_live_progress_in_a_notebook_draws_one_picture_in_place_above_the_lines(monkeypatch, capsys):
    display = pytest.importorskip("IPython.display", reason="the live curve is for notebooks, which have IPython")
    from tinyvlm.training import progress

    shown = []

    class Handle:
        def update(self, picture):
            shown.append(picture)

    monkeypatch.setattr(progress, "_in_live_notebook", lambda: True)
    monkeypatch.setattr(display, "display", lambda picture, display_id: shown.append(picture) or Handle())
    fit(Toy(), Stage("s", 30, source()), device="cpu", progress="live")
    assert 2 <= len(shown) < 10 and all(picture.data.startswith(b"\x89PNG") for picture in shown)
    assert shown[-1].alt == "Losses over 30 training steps"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("s  step  1/30") and "30 steps" in lines[-1] and len(lines) > 10


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_non_finite_step_stops_before_it_touches_the_weights(where, tmp_path):
    class Broken(Toy):
        def forward(self, batch):
            terms = super().forward(batch)
            if int(batch["index"][0]) == 48:  # the batch of step 7
                bad = terms["regression"].sum
                # The square root's slope at 0 is infinite, while its value is not.
                bad = bad * math.nan if where == "loss" else bad + (self.model.head.bias * 0).sum().sqrt()
                terms["regression"] = Term(bad, terms["regression"].count)
            return terms

    task = Broken()
    history = []
    with pytest.raises(NonFiniteLoss) as error:
        quiet(
            task,
            Stage("s", 12, source()),
            folder=tmp_path,
            save_every=3,
            on_step=lambda d, t: history.append(weights(task)),
        )
    text = str(error.value)
    assert "Stage 's', step 7" in text and "48, 49, 50" in text and "(8 samples)" in text
    assert ("regression is nan" in text) if where == "loss" else ("gradient norm is" in text)
    assert len(history) == 6 and torch.equal(history[-1]["model.head.weight"], task.model.head.weight)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["0001-step-3", "0002-step-6"]


def test_read_in_groups_as_on_a_gpu_a_bad_loss_leaves_the_last_good_checkpoint(monkeypatch, tmp_path):
    """On a GPU losses are read every few steps; the check then comes late, but before anything newer is saved."""
    from tinyvlm.training import loop, update

    class Broken(Toy):
        def forward(self, batch):
            terms = super().forward(batch)
            factor = math.inf if int(batch["index"][0]) >= 56 else 1.0  # from step 8
            return {name: Term(term.sum * factor, term.count) for name, term in terms.items()}

    real = loop.Pending
    monkeypatch.setattr(loop, "Pending", lambda every: real(5))
    checked = update.Update.check
    monkeypatch.setattr(
        update.Update,
        "check",
        lambda self, step, names, values, more=None: more is not None and checked(self, step, names, values, more),
    )
    with pytest.raises(NonFiniteLoss, match=r"step 8: .*last good checkpoint is .*0001-step-6"):
        quiet(Broken(), Stage("s", 20, source()), folder=tmp_path, save_every=6)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["0001-step-6"]


def test_an_interrupt_ends_after_the_step_and_the_work_goes_on_later(tmp_path):
    whole = Toy()
    full = quiet(whole, stages())

    def interrupt(done, total):
        if done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    first = quiet(Toy(), stages(), folder=tmp_path, on_step=interrupt)
    assert first.interrupted and 5 <= first.steps <= 6 and signal.getsignal(signal.SIGINT) is before
    task = Toy()
    second = quiet(task, stages(), folder=tmp_path)
    assert not second.interrupted and second.loss == full.loss
    assert all(torch.equal(a, b) for a, b in zip(weights(task).values(), weights(whole).values(), strict=True))


def test_a_keyboard_interrupt_from_a_callback_keeps_the_work(tmp_path):
    def stop(done, total):
        if done == 7:
            raise KeyboardInterrupt

    history = quiet(Toy(), stages(), folder=tmp_path, save_every=100, on_step=stop)
    assert history.interrupted and history.steps == 7
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir())[-1].endswith("step-7")


def test_an_interrupt_within_a_step_saves_nothing_half_done(tmp_path):
    class Slow(Toy):
        def after_step(self, batch):
            super().after_step(batch)
            if int(self.seen) == 5:
                raise KeyboardInterrupt

    history = quiet(Slow(), Stage("s", 9, source()), folder=tmp_path, save_every=2)
    assert history.interrupted and history.steps == 4
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["0001-step-2", "0002-step-4"]


def test_batches_fetched_ahead_are_the_same_and_come_from_one_thread():
    threads = set()

    def make(step, rank=0, world=1):
        threads.add(threading.current_thread().name)
        return source()(step)

    with batches(make, range(3, 7), 0, 1, torch.device("cpu"), ahead=True) as coming:
        rows = list(coming)
    assert [step for step, _ in rows] == [3, 4, 5, 6] and len(threads) == 1
    assert all(torch.equal(batch["x"], source()(step)["x"]) for step, batch in rows)
    assert threading.current_thread().name not in threads

    def failing(step, rank=0, world=1):
        if step == 1:
            raise OSError("the disk is gone")
        return source()(step)

    with batches(failing, range(3), 0, 1, torch.device("cpu"), ahead=True) as coming:
        assert next(coming)[0] == 0
        with pytest.raises(OSError, match="disk"):
            next(coming)


def test_fetching_ahead_overlaps_with_the_training():
    """The second batch is made while the first is still being used, and the third only after that."""
    asked = [threading.Event() for _ in range(4)]

    def make(step, rank=0, world=1):
        asked[step].set()
        return source()(step)

    with batches(make, range(4), 0, 1, torch.device("cpu"), ahead=True) as coming:
        next(coming)
        assert asked[1].wait(10) and not asked[2].wait(0.05)


def test_precision_follows_the_device():
    assert precision("cpu") == precision("mps") == "no"
    assert precision("cuda", (7, 5)) == "fp16" and precision("cuda", (8, 0)) == precision("cuda", (9, 0)) == "bf16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"progress": "loud"}, "choose text or live"),
        ({"device": "tpu"}, "choose cpu, cuda or mps"),
        ({"save_every": 0, "folder": "somewhere"}, "save_every=0"),
    ],
)
def test_options_that_cannot_be_are_named(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        fit(Toy(), Stage("s", 1, source()), **{"progress": None, "device": "cpu"} | options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available here, so asking for it is no error")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="'cuda' is not available here, only"):
        fit(Toy(), Stage("s", 1, source()), device="cuda", progress=None)


def test_a_source_that_returns_no_batch_is_named():
    with pytest.raises(ValueError, match="no dict of tensors at step 1"):
        quiet(Toy(), Stage("s", 1, lambda step, rank=0, world=1: {}))


@pytest.mark.parametrize("plan", [[], [Stage("s", 1, source()), Stage("s", 1, source())]])
def test_stages_need_different_names(plan):
    with pytest.raises(ValueError, match="different names"):
        quiet(Toy(), plan)


def test_gradient_scaling_as_in_fp16_changes_nothing_but_skips_overflows(monkeypatch, tmp_path):
    """The scaler of half precision, here on the CPU: scaled by a power of two and back, two optimisers, a resume."""
    from tinyvlm.training import hardware

    plain, scaled = Toy(), Toy()
    quiet(plain, stages())
    real = hardware.start
    scalers = []

    def start(device):
        accelerator = real(device)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=4)
        scalers.append(accelerator.scaler)
        return accelerator

    monkeypatch.setattr(hardware, "start", start)

    def stop(done, total):
        if done == 7:
            raise KeyboardInterrupt

    quiet(scaled, stages(), folder=tmp_path, on_step=stop)
    history = quiet(scaled, stages(), folder=tmp_path)
    assert history.steps == 12 and scalers[0].get_scale() == 2.0**31 and scalers[1].get_scale() == 2.0**33
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(scaled)[name], value, atol=1e-6, rtol=1e-5)

    class Overflows(Toy):
        def forward(self, batch):
            terms = super().forward(batch)
            if int(self.seen) == 2:  # finite loss, infinite gradient, as a half-precision backward gives
                terms["regression"].sum.register_hook(lambda grad: grad * float("inf"))
            return terms

    task, seen = Overflows(), []
    quiet(task, Stage("s", 5, source()), on_step=lambda done, total: seen.append(weights(task)["model.head.weight"]))
    assert torch.equal(seen[1], seen[2]) and not torch.equal(seen[2], seen[3])
    assert scalers[-1].get_scale() == 2.0**29

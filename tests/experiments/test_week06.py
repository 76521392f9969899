"""Week 6: what its arms train, which way its claims point, what is measured, and what its exercises accept."""

from dataclasses import replace

import pytest
import torch

from tinyvlm.experiments import few_labels, transfer, week06, week06_checks
from tinyvlm.models.beit import BEiT
from tinyvlm.models.beit_task import BEiTTask
from tinyvlm.objectives.quantising import straight_through
from tinyvlm.training import History, Stage

SMOKE = week06.BUDGETS["smoke"]
TINY = replace(
    SMOKE, tokenizer_steps=2, steps=2, dense_steps=2, batch=8, tokenizer_batch=8, updates=(1, 2), hidden_updates=(1, 2)
)
SHORT, LONG = "few labels, short", "few labels, long"
EARLY, LATE = "hidden nouns, short", "hidden nouns, long"
SMALL = "small patches"
# Claim, what lies elsewhere than at 0.5, the difference: read by test_weeks.py.
CASES: list[tuple[str, dict[str, dict[str, float]], float]] = [
    ("few-labels", {"codes": {SHORT: 0.9}}, 0.4),
    ("few-labels", {"codes": {LONG: 0.54}}, 0.04),
    # Scratch has the number of updates that favours it, whichever that is.
    ("few-labels", {"codes": {SHORT: 0.9}, "scratch": {LONG: 0.8}}, 0.1),
    ("few-labels", {"codes": {SHORT: 0.1, LONG: 0.2}}, -0.3),
    ("hidden-nouns", {"codes": {EARLY: 0.9}}, 0.4),
    ("hidden-nouns", {"codes": {LATE: 0.6}, "scratch": {EARLY: 0.8, LATE: 0.1}}, -0.2),
    ("tokens-or-pixels", {"codes": {LATE: 0.9}}, 0.4),
    ("tokens-or-pixels", {"pixels": {EARLY: 0.9}}, -0.4),
    ("probe", {"codes": {"few labels, probe": 0.9}}, 0.4),
    ("probe", {"scratch": {"few labels, probe": 0.9}}, -0.4),
    ("probe", {"pixels": {"few labels, probe": 0.9}}, 0.0),
    ("blocks", {f"blockwise, {SMALL}": {"mIoU": 0.6}}, 0.1),
    ("blocks", {f"random, {SMALL}": {"mIoU": 0.6}}, -0.1),
]


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, Stage]]:
    """What is handed to the trainer, which then trains nothing."""
    seen: list[tuple[object, Stage]] = []

    def fit(task: object, stages: object, **options: object) -> History:
        seen.extend((task, one) for one in (stages if isinstance(stages, list) else [stages]))
        return History()

    for module in (week06, transfer):
        monkeypatch.setattr(module, "fit", fit)
    return seen


@pytest.mark.parametrize("name", week06.ARMS)
def test_an_arm_trains_what_it_names(name: str, tasks: list[tuple[object, Stage]], monkeypatch) -> None:
    monkeypatch.setitem(week06.BUDGETS, "smoke", TINY)
    arm = week06.ARMS[name]
    found = week06.run_arm(name, 0, "smoke")
    stages = [stage.name for _, stage in tasks]
    expected = ["tokenizer"] * (arm.pretrained and arm.targets == "codes") + ["pre-train"] * arm.pretrained
    assert stages == expected + ([] if arm.dense else ["hidden nouns"] * 2 + ["fine-tune"] * 3)
    assert "mIoU" in found and (SHORT in found) != arm.dense
    assert ("perplexity" in found) == ("tokenizer" in expected)
    for task, stage in tasks:
        if stage.name == "pre-train":
            assert isinstance(task, BEiTTask)
            assert (task.masking, task.targets) == (arm.masking, arm.targets)
            side = 8 if arm.dense else 4
            assert task.model.side == side and task.count == int(0.4 * side**2)
            assert stage.optimisers[0].lr == TINY.lr * arm.pace
        if stage.name == "fine-tune":
            assert stage.steps in TINY.updates
            assert [one.lr for one in stage.optimisers] == [TINY.fine_lr, TINY.head_lr]
        if stage.name == "hidden nouns":
            assert stage.steps in TINY.hidden_updates and stage.optimisers[0].lr == TINY.hidden_lr
            assert isinstance(task, few_labels.HiddenNounTask) and task.count == 6


def test_the_arms_of_a_claim_differ_in_one_thing() -> None:
    arms = week06.ARMS
    assert arms["scratch"] == replace(arms["codes"], pretrained=False)
    assert arms["pixels"] == replace(arms["codes"], targets="normalised pixels", pace=arms["pixels"].pace)
    assert arms[f"blockwise, {SMALL}"] == replace(arms[f"random, {SMALL}"], masking="blockwise")


def test_pre_training_sees_no_label_and_fine_tuning_only_labelled_pictures(tasks: list[tuple[object, Stage]]) -> None:
    arm = week06.ARMS["codes"]
    tokenizer, _ = week06.train_tokenizer(arm, 0, TINY)
    model, _ = week06.train(arm, 0, TINY, tokenizer)
    labelled = few_labels.Labelled(TINY.scenes, 2, 0, 48)
    transfer.fine_tune(model, labelled, 3, 0, TINY)
    (_, first), (_, second), (_, third) = tasks
    assert "label" not in first.source(0) and "label" not in second.source(0)
    epoch = torch.cat([third.source(step)["label"] for step in range(2)])
    assert set(epoch.tolist()) == set(range(8)) and len(labelled) == 16


def test_from_scratch_means_random_weights_of_the_same_network(tasks: list[tuple[object, Stage]]) -> None:
    model, history = week06.train(week06.ARMS["scratch"], 3, TINY)
    torch.manual_seed(3)
    before = week06.new_model(week06.ARMS["codes"], TINY)
    assert not tasks and not history.loss
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), model.parameters(), strict=True))


def test_fine_tuning_leaves_the_network_that_it_starts_from() -> None:
    model, _ = week06.train(week06.ARMS["scratch"], 0, TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    classifier = transfer.fine_tune(model, few_labels.Labelled(TINY.scenes, 1, 0, 48), 2, 0, TINY)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    moved = (classifier.tower.patches.weight - model.tower.patches.weight).abs().max()
    assert moved > 0 and classifier.config.classes == TINY.nouns


def test_naming_behind_patches_keeps_all_but_the_head() -> None:
    model, _ = week06.train(week06.ARMS["scratch"], 0, TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    named = transfer.name_hidden(model, 1, 0, replace(TINY, hidden_lr=1e-9))
    assert named.config.codes == named.head.out_features == TINY.nouns
    for name, value in named.state_dict().items():
        if not name.startswith("head."):
            torch.testing.assert_close(value, before[name])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@torch.no_grad()
def test_hidden_nouns_count_only_hidden_patches_with_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    named = BEiT(week06.new_model(week06.ARMS["codes"], TINY).config.replace(codes=TINY.nouns)).eval()
    blind = transfer.hidden_nouns(named, 0, TINY)
    assert blind["found"] < 0.5 and 1 / TINY.nouns <= blind["commonest"] < 0.5

    shown = few_labels.LabelledScenes(TINY.scenes, "val", 0, 48, 12, TINY.measured)
    assert shown.examples["nouns"].min() == -1 and shown.examples["nouns"].max() < TINY.nouns
    hidden = torch.zeros(4, 16, dtype=torch.bool)
    hidden[:, :5] = True
    nouns = shown.examples["nouns"][:4]
    true, logits = few_labels.named_patches(named, torch.zeros(4, 3, 48, 48), hidden, nouns)
    assert true.tolist() == [n for row in nouns[:, :5].tolist() for n in row if n >= 0]
    assert logits.shape == (len(true), TINY.nouns)
    # A network that knows the answer has them all.
    monkeypatch.setattr(
        transfer, "named_patches", lambda model, image, hidden, nouns: (true, torch.eye(TINY.nouns)[true])
    )
    assert transfer.hidden_nouns(named, 0, TINY)["found"] == 1


def test_hidden_codes_are_counted_against_the_commonest_code() -> None:
    arm = week06.ARMS["codes"]
    tokenizer = week06.new_tokenizer(arm, TINY).eval()
    found = week06.hidden_codes(BEiT.named("micro").eval(), tokenizer, arm, 0, TINY)
    assert 0 <= found["hidden codes"] <= 1 / 3 and found["hidden codes, commonest"] >= 1 / 256
    assert 1 <= found["perplexity"] <= 256


@torch.no_grad()
def test_a_dense_probe_of_tokens_that_know_the_class_reaches_the_ideal(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = replace(TINY, measured=32)
    model = week06.new_model(week06.ARMS[f"random, {SMALL}"], budget).eval()
    blind = few_labels.dense_probe(model, budget.scenes, 0, budget.measured)
    assert 0 < blind["mIoU"] < blind["mIoU, ideal"] < 1
    known = {}
    for split, count in (("train", 8), ("val", 32)):
        _, classes = few_labels.scenes_with_classes(budget.scenes, split, 0, 48, count)
        known[count] = torch.nn.functional.one_hot(few_labels.patch_classes(classes, 6), budget.nouns + 1).float()
    monkeypatch.setattr(few_labels, "patch_tokens", lambda model, image: known[len(image)])
    seen = few_labels.dense_probe(model, budget.scenes, 0, budget.measured)
    assert seen["mIoU"] > 0.9 * seen["mIoU, ideal"] > blind["mIoU"] and seen["patches"] > 0.9


def test_a_run_can_be_repeated_call_by_call_as_the_chapter_does() -> None:
    arm, runs = week06.ARMS["codes"], []
    for _ in range(2):
        tokenizer, _ = week06.train_tokenizer(arm, 3, TINY)
        model, history = week06.train(arm, 3, TINY, tokenizer)
        runs.append((history.loss, model.head.weight))
    assert runs[0][0] == runs[1][0] and torch.equal(runs[0][1], runs[1][1])


def squared(side: int) -> torch.Tensor:
    """Offsets in the wrong order: column first."""
    place = torch.arange(side * side)
    row, column = place // side, place % side
    down, right = (one[:, None] - one + side - 1 for one in (row, column))
    return right * (2 * side - 1) + down


WRONG = {
    "relative_index": squared,
    "pass_through": lambda features, codes: features + 0 * codes,
    "alive": lambda: 2.5,
}


@pytest.mark.parametrize("name", WRONG)
def test_checks_refuse_wrong_answers(name: str) -> None:
    verdict = getattr(week06_checks, name)(WRONG[name])
    assert not verdict.passed and verdict.message


def test_a_gradient_that_reaches_the_codes_or_is_scaled_is_refused() -> None:
    assert "reaches the codes" in week06_checks.pass_through(lambda z, e: z + e - z.detach()).message
    halved = week06_checks.pass_through(lambda z, e: 0.5 * z + (e - 0.5 * z).detach())
    assert "must arrive unchanged" in halved.message
    assert "no gradient" in week06_checks.pass_through(lambda z, e: e.detach()).message


def test_the_codebook_is_judged_by_what_its_run_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(week06_checks, "UPDATES", 1)
    state = torch.get_rng_state()
    verdict = week06_checks.alive(lambda: 10)
    assert not verdict.passed and "with a patience of 10 the perplexity after 1 updates" in verdict.message
    monkeypatch.setattr(week06_checks, "GOAL", 0.0)
    assert week06_checks.alive(lambda: 10).passed
    assert torch.equal(torch.get_rng_state(), state)


def test_checks_accept_other_right_answers() -> None:
    def looped(side: int) -> torch.Tensor:
        index = torch.empty(side**2, side**2, dtype=torch.long)
        for query in range(side**2):
            for key in range(side**2):
                down, right = query // side - key // side, query % side - key % side
                index[query, key] = (down + side - 1) * (2 * side - 1) + right + side - 1
        return index

    assert week06_checks.relative_index(looped).passed
    assert week06_checks.pass_through(straight_through).passed
    assert week06_checks.pass_through(lambda z, e: e.detach() + z - z.detach()).passed

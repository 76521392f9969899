"""Checks of week 6's exercises. Each takes the learner's function and returns a verdict; none raises."""

from collections.abc import Callable

import torch
from torch import Tensor

from tinyvlm.data.scenes import SceneSpec
from tinyvlm.encoders import normalise
from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.worlds import world
from tinyvlm.layers import RelativePositions
from tinyvlm.models.tokenizers import TokenizerTask, VisualTokenizer
from tinyvlm.objectives.quantising import perplexity, straight_through
from tinyvlm.training import fit

# No empty corner: the ground's one code would take most patches.
FULL_SCENES = SceneSpec(objects=(4, 4), plates=4, backgrounds=2, nouns=64)
# Exercise 3's tokenizer starts from random codes and trains for seconds.
CODES, UPDATES, BATCH, GOAL = 128, 40, 16, 30.0


def _tensor(value: object, shape: tuple[int, ...], what: str) -> Tensor:
    assert value is not None, f"it returns nothing yet; return {what}."
    assert isinstance(value, Tensor), f"it returns a {type(value).__name__}; return {what}."
    assert tuple(value.shape) == shape, f"it returns the shape {tuple(value.shape)}; {what} has {shape}."
    return value


@check
def relative_index(function: Callable[[int], Tensor]) -> Verdict:
    """Exercise 1: against the index of the course's layer, and by what it must tell apart."""
    for side in (1, 2, 3, 14):
        patches = side * side
        found = _tensor(function(side), (patches, patches), "the index, a tensor of whole numbers")
        assert not found.is_floating_point(), "it returns floats; an index has whole numbers."
        wanted = RelativePositions(side, 1, class_token=False).index
        wrong = (found != wanted).sum().item()
        assert not wrong, (
            f"for {side} x {side} patches {wrong} of {patches**2} entries differ; the first patch towards the last has "
            f"the row {int(wanted[0, -1])}, and your entry is {int(found[0, -1])}."
        )
    return Verdict(True, "one row of the table for every offset, also for the paper's 14 x 14 patches.")


@check
def pass_through(function: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 2: values and gradients against the core's, where a loss bends."""
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        features, codes, weights = (torch.randn(3, 4, generator=generator, dtype=torch.double) for _ in range(3))
        results = []
        for one in (function, straight_through):
            z, e = features.clone().requires_grad_(True), codes.clone().requires_grad_(True)
            out = _tensor(one(z, e), (3, 4), "the vectors for the decoder, a tensor like the features")
            assert torch.allclose(out, codes), "its values are not those of the codes; the decoder must see codes."
            assert out.requires_grad, "no gradient can reach the features through it."
            (out.sin() * weights).sum().backward()
            assert z.grad is not None, "no gradient arrives at the features."
            results.append((z.grad, e.grad))
        (mine, to_codes), (wanted, _) = results
        assert torch.allclose(mine, wanted), (
            "the gradient of the features is not that of the decoder's input; it must arrive unchanged."
        )
        assert to_codes is None or not to_codes.any(), (
            "a gradient reaches the codes; the pixels teach the encoder alone, and codes learn by the second term."
        )
    return Verdict(True, "codes forward, the decoder's gradient backward.")


@check
def alive(function: Callable[[], int]) -> Verdict:
    """Exercise 3: a tokenizer trained with the learner's patience, and how many codes it uses."""
    patience = function()
    assert patience is not None, "it returns nothing yet; return a number of updates."
    assert isinstance(patience, int) and patience >= 0, f"it returns {patience!r}; return a whole number from 0 on."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VisualTokenizer.named("micro", codes=CODES)
        scenes, unseen = (world(split, 0, model.config.image_size, FULL_SCENES) for split in ("train", "val"))
        task = TokenizerTask(model, patience=patience)
        lesson = stage("tokenizer", UPDATES, scenes.source(BATCH), adamw(2e-3), warmup=5)
        fit(task, lesson, seed=0, progress=None)
        model.cpu().eval()
        with torch.no_grad():
            codes = model.codes(normalise(unseen.batch(range(128))["image"]))
    used = perplexity(codes, CODES).item()
    reached = f"with a patience of {patience} the perplexity after {UPDATES} updates is {used:.1f} of {CODES}"
    assert used >= GOAL, f"{reached}; the goal is {GOAL:g}. 0 never restarts a code."
    return Verdict(True, f"{reached}.")

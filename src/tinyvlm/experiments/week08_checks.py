"""Checks of week 8's exercises. Each takes the learner's function and returns a verdict; none raises."""

import copy
import re
from collections.abc import Callable

import torch
from torch import Tensor

from tinyvlm.data.text_only import TextOnly
from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.experiments.recipes import adamw, stage
from tinyvlm.experiments.words import content_rates
from tinyvlm.experiments.worlds import FEW
from tinyvlm.models.vlmo import Route, VLMo, VLMoConfig
from tinyvlm.models.vlmo_task import VLMoTextTask
from tinyvlm.training import fit

# Exercise 3's text stage is short enough for seconds. Words of a template can be had without pictures in that time.
UPDATES, TEXTS, GOAL = 40, 24, 4.5


@check
def parameters(function: Callable[[int, int, int, int], int]) -> Verdict:
    """Exercise 1: against models on the meta device, the paper's Base and Large among them."""
    for width, layers, heads, top in ((768, 12, 12, 2), (1024, 24, 16, 3), (64, 2, 4, 0), (64, 2, 4, 1)):
        base, shape = VLMoConfig.named("Base"), {"width": width, "layers": layers, "heads": heads, "hidden": 4 * width}
        with torch.device("meta"):
            model = VLMo(base.replace(vision=base.vision.replace(**shape), bert=base.bert.replace(**shape), top=top))
        counted = ("embedding", "modality", "shared", "relative")
        wanted = sum(weight.numel() for name, weight in model.named_parameters() if name.startswith(counted))
        found = function(width, layers, heads, top)
        assert found is not None, "it returns nothing yet; return the number of parameters."
        assert int(found) == wanted, (
            f"for width {width}, {layers} layers, {heads} heads and {top} top layers it returns {int(found):,}, and "
            f"the model has {wanted:,}, {int(found) - wanted:+,}."
        )
    return Verdict(True, "to the last parameter, also for Base with 175,430,496.")


class _Leaky(VLMo):
    """A VLMo whose pairs are split `late` tokens too late, so that so many patches pass the language experts."""

    late = 0

    def routes(self, words: int, patches: int) -> list[Route]:
        """The wrong routes."""
        return super().routes(words + self.late, patches - self.late)


@check
def leak(function: Callable[[VLMo, Tensor, Tensor, Tensor], bool]) -> Verdict:
    """Exercise 2: whether the learner's test tells a right model from those with a wrong split."""
    image, ids = torch.randn(2, 3, 48, 48), torch.randint(10, 200, (2, 9))
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    for late in (0, 1, 7):
        model = _Leaky.named("micro").eval()
        model.late = late
        before = copy.deepcopy(model.state_dict())
        found = function(model, ids, mask, image)
        assert found is not None, "it returns nothing yet; return True or False."
        where = f"{late} patches pass the language experts" if late else "no patch passes a language expert"
        assert bool(found) == bool(late), f"it returns {found} where {where}."
        same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert same, "it leaves the model with other weights; put them back, or work on a copy."
    return Verdict(True, "it passes the right model and finds both wrong splits.")


@check
def freeze(function: Callable[[], str]) -> Verdict:
    """Exercise 3: a text stage that trains what the learner names, and what came of it."""
    pattern = function()
    assert pattern is not None, "it returns nothing yet; return a regular expression."
    assert isinstance(pattern, str), f"it returns a {type(pattern).__name__}; return a regular expression, a string."
    try:
        re.compile(pattern)
    except re.error as error:
        return Verdict(False, f"{pattern!r} is no regular expression ({error}).")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, image = VLMo.named("micro").eval(), torch.randn(4, 3, 48, 48)
        with torch.no_grad():
            before = model.image_tokens(image)
        task, texts = VLMoTextTask(model, content_rates(colours=0.1)), TextOnly(0, FEW, 20, kinds=("caption",))
        named = [name for name, _ in task.named_parameters() if re.search(pattern, name)]
        assert named, f"{pattern!r} matches no parameter; names look like model.embedding.words.weight."
        plan = stage("texts", UPDATES, texts.source(TEXTS), adamw(3e-3), trainable=pattern)
        losses = fit(task, plan, progress=None, device="cpu").loss[-10:]
        with torch.no_grad():
            after = model.image_tokens(image)
    reached = f"after {UPDATES} updates of texts alone the loss is {sum(losses) / len(losses):.2f}"
    moved = (after - before).abs().max().item()
    assert moved == 0, f"{reached}, but the tokens of a picture have moved by up to {moved:.2g}."
    assert sum(losses) / len(losses) < GOAL, f"{reached}; the goal is {GOAL:g}, so something more has to learn."
    return Verdict(True, f"{reached}, and a picture's tokens are bit-equal.")

"""Checks of week 4's exercises. Each takes the learner's function and returns a verdict; none raises."""

from collections import defaultdict
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tinyvlm import zoo
from tinyvlm.data.questions import NOTHING, questions
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.words import CELLS, COLOURS
from tinyvlm.encoders import normalise
from tinyvlm.encoders.bert import BertConfig, bert_block
from tinyvlm.experiments import week04
from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.experiments.worlds import FEW
from tinyvlm.models.pixel_bert import PixelBERT, sample_cells

MODEL = "pixel-bert-micro"
PLATES = FEW.plates


@check
def layer_cost(function: Callable[[int, int, int], int]) -> Verdict:
    """Exercise 1: against PyTorch's own counter, run over a block on the meta device."""
    for tokens, width, hidden, heads in ((32, 128, 512, 4), (56, 128, 512, 2), (276, 768, 3072, 12), (9, 48, 80, 3)):
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            bert_block(BertConfig(width=width, heads=heads, hidden=hidden)).eval()(torch.empty(1, tokens, width))
        found, wanted = function(tokens, width, hidden), counter.get_total_flops() // 2
        assert found is not None, "it returns nothing yet; return a number."
        assert int(found) == wanted, (
            f"for {tokens} tokens of width {width} and {hidden} hidden units it returns {int(found):,}, a block takes "
            f"{wanted:,} multiply-adds ({wanted - int(found):+,} are missing)."
        )
    return Verdict(True, "every multiply-add of four blocks is accounted for.")


@check
def without_noun(function: Callable[..., float]) -> Verdict:
    """Exercise 2: against a count of all draws that lead to the same question with its noun covered."""
    colours = COLOURS[:PLATES]
    scenes = (colours[:1], colours[:2], (colours[0],) * 2, (*colours[:3], colours[0]), (*colours[:2], *colours[:2]))
    for plates in map(list, scenes):
        for kind, named in (("where", None), ("which colour", None), *(("yes or no", colour) for colour in colours)):
            found, wanted = function(kind, list(plates), named), _likeliest(kind, plates, named)
            assert found is not None, "it returns nothing yet; return the chance that the likeliest answer is right."
            assert abs(float(found) - wanted) < 1e-6, (
                f"for {kind!r} with plates {', '.join(plates)} and named {named} it returns {float(found):.4f}, the "
                f"likeliest answer is right with chance {wanted:.4f}: weigh every object and every draw that fits."
            )
    return Verdict(True, "this is the ideal that sees everything but the noun.")


def _likeliest(kind: str, plates: list[str], named: str | None) -> float:
    answers: dict[object, float] = defaultdict(float)
    for place, own in enumerate(plates):
        if kind != "yes or no":
            answers[place if kind == "where" else own] += 1.0
            continue
        answers["yes"] += own == named
        for other in COLOURS[:PLATES]:
            answers["no"] += (own != other == named) / (PLATES - 1)
    return max(answers.values()) / sum(answers.values())


@check
def guided_cells(function: Callable[[Tensor, Tensor, int], Tensor]) -> Verdict:
    """Exercise 3: against random sampling whose random numbers are the attention."""
    generator = torch.Generator().manual_seed(0)
    # Every cell carries its picture's and its own number, so that it can be recognised.
    picture, cell = torch.meshgrid(torch.arange(5), torch.arange(36), indexing="ij")
    cells = torch.stack([picture, cell, picture * 36 + cell], -1).float()
    attention = torch.rand(5, 36, generator=generator).softmax(1)
    for keep in (1, 12, 36, 100):
        found = function(cells, attention, keep)
        assert isinstance(found, Tensor), "it returns nothing yet; return the cells that are kept."
        wanted = sample_cells(cells, -attention, keep)
        assert found.shape == wanted.shape, (
            f"with keep = {keep} the result has shape {list(found.shape)} instead of {list(wanted.shape)}."
        )
        assert torch.equal(found[:, :, 0], wanted[:, :, 0]), "a picture got cells of another picture."
        # In any order: the stream has no places.
        assert torch.equal(found[..., 1].sort(1).values, wanted[..., 1].sort(1).values), (
            f"with keep = {keep} these are not the {min(keep, 36)} cells with the most attention of each picture."
        )
        assert torch.equal(found[..., 2], found[..., 0] * 36 + found[..., 1]), "numbers of different cells were mixed."
    return Verdict(True, "each picture keeps its own most attended cells.")


@check
def noun_prompt(function: Callable[[str], str], scenes: int = 256, wanted: float = 0.6) -> Verdict:
    """Exercise 4: how often the zoo's model fills the prompt's last [MASK] with the noun that stands at the place."""
    first = function(CELLS[0])
    assert isinstance(first, str), "it returns nothing yet, or no text; return the words of the prompt."
    assert "[MASK]" in first, "the prompt has no [MASK]: there is no gap to fill."
    model = cast(PixelBERT, zoo.load(MODEL))
    view = week04.questions("val", 0, model.config.trunk.image_size)
    asked = questions(view.scenes(range(scenes)), "what")
    rows = [row for row, question in enumerate(asked) if question.answer != NOTHING]
    places = [asked[row].text.removeprefix("what is at ").removesuffix("?") for row in rows]
    tokenizer = load_tokenizer()
    text, mask = tokenizer.encode([function(place) for place in places], model.config.bert.context)
    gaps = text == model.config.mask_id
    last = gaps & (gaps.cumsum(1) == gaps.sum(1, keepdim=True))
    with torch.inference_mode():
        logits = model.predict_words(normalise(view.batch(rows)["image"]), text, mask, last)
    named = [tokenizer.decode([word]) for word in logits.argmax(1).tolist()]
    right = sum(word == asked[row].answer for word, row in zip(named, rows, strict=True)) / len(rows)
    said = f"it gets {right:.3f} of {len(rows)} nouns"
    assert right > wanted, f"{said}; more than {wanted} is possible: put the gap where captions have their nouns."
    return Verdict(True, f"{said}, from the pre-trained model.")

"""Checks of week 4's exercises. Each takes the learner's function and returns a verdict; none raises."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tinyvlm.encoders.bert import BertConfig, bert_block
from tinyvlm.experiments.exercises import Verdict, check
from tinyvlm.models.pixel_bert import sample_cells
from tinyvlm.objectives import mask_tokens, uniform_rates

# (ids [b, n], rates [vocabulary], mask_id, draws [3, b, n]) -> (corrupted [b, n], chosen [b, n])
Hide = Callable[[Tensor, Tensor, int, Tensor], tuple[Tensor, Tensor]]


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
def hide(function: Hide) -> Verdict:
    """Exercise 2: against the objective's own function, given the numbers that it draws."""
    vocabulary, reserved, mask_id = 60, 10, 3
    rates = uniform_rates(vocabulary, reserved, 0.2)
    rates[40:50], rates[50:] = 0.7, 0.0
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(vocabulary, (40, 25), generator=generator)
        before, state = ids.clone(), generator.get_state()
        draws = torch.rand(3, *ids.shape, generator=generator)
        generator.set_state(state)
        wanted, wanted_chosen = mask_tokens(ids, rates, mask_id, generator)
        found = function(ids, rates, mask_id, draws)
        assert found is not None, "it returns nothing yet; return the corrupted ids and which places were chosen."
        corrupted, chosen = found
        assert corrupted.shape == ids.shape and chosen.shape == ids.shape, "both results have the shape of ids."
        assert torch.equal(ids, before), "it changed ids itself; work on a copy, the loss still needs the true words."
        assert torch.equal(chosen.bool(), wanted_chosen), (
            f"{int(chosen.bool().sum())} places are chosen instead of {int(wanted_chosen.sum())}: a place is chosen "
            "where draws[0] lies below the rate of its id."
        )
        assert torch.equal(corrupted[~wanted_chosen], ids[~wanted_chosen]), "a word that was not chosen has changed."
        for name, where in (
            ("becomes [MASK] where draws[1] is below 0.8", draws[1] < 0.8),
            ("stays where draws[1] is 0.9 or more", draws[1] >= 0.9),
            (
                "becomes another word in between: the floor(draws[2] * N)-th of the N with a rate above 0",
                draws[1] >= 0.8,
            ),
        ):
            place = wanted_chosen & where
            assert torch.equal(corrupted[place], wanted[place]), f"a chosen word {name}."
    return Verdict(True, "80, 10 and 10, and every special token left alone.")


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

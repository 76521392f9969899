"""Two-way renaming of state-dict keys from one table of templates."""

import re
from collections.abc import Sequence

from torch import Tensor

State = dict[str, Tensor]


class Renaming:
    """Pairs (ours, theirs); `{}` stands for a layer's number, a pair also carries every key below it."""

    def __init__(self, pairs: Sequence[tuple[str, str]]):
        self.pairs = list(pairs)

    def to_ours(self, state: State) -> State:
        """Rename; keys that no pair covers are left out (buffers, heads that the model lacks)."""
        return self._apply(state, [(theirs, ours) for ours, theirs in self.pairs])

    def to_theirs(self, state: State) -> State:
        """Inverse of `to_ours`."""
        return self._apply(state, self.pairs)

    @staticmethod
    def _apply(state: State, pairs: Sequence[tuple[str, str]]) -> State:
        rules = [
            (re.compile(re.escape(source).replace(r"\{\}", r"(\d+)") + r"(\.\w+)?"), target) for source, target in pairs
        ]
        renamed: State = {}
        for key, value in state.items():
            for pattern, target in rules:
                if match := pattern.fullmatch(key):
                    *numbers, leaf = match.groups()
                    renamed[target.format(*numbers) + (leaf or "")] = value
                    break
        return renamed

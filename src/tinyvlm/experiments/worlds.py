"""The scenes that weeks share, so that their numbers may stand side by side."""

from tinyvlm.data.noise import Noise, NoisyWorld
from tinyvlm.data.scenes import SceneSpec
from tinyvlm.data.world import World

# 1-4 objects on plates of four colours, two backgrounds, every seen noun; captions of at most 34 tokens.
FULL = SceneSpec(objects=(1, 4), plates=4, backgrounds=2)
# One or two objects out of 64, for models that take minutes where FULL would take hours; at most 19 tokens.
FEW = SceneSpec(objects=(1, 2), plates=4, backgrounds=2, nouns=64)


def world(
    split: str,
    seed: int,
    size: int,
    spec: SceneSpec = FEW,
    *,
    context: int | None = None,
    noise: Noise | None = None,
) -> World:
    """Scenes of `size` pixels a side, with captions padded to `context` tokens (None: no further than they need).

    With `noise` some captions are wrong, and `batch` says which (see `NoisyWorld`).
    """
    if context is None:
        context = 20 if spec.objects[1] <= 2 else 34
    if noise is None:
        return World(split, seed=seed, spec=spec, size=size, context=context)
    return NoisyWorld(split, seed=seed, spec=spec, size=size, context=context, noise=noise)

import numpy as np
import pytest
import torch

from tinyvlm.data.captions import captions
from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.noise import NOISES, Noise, NoisyWorld, noise_kinds, truncate
from tinyvlm.data.scenes import SceneSpec, content
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.data.words import BACKGROUNDS, COLOURS
from tinyvlm.data.world import World

NOISE = Noise(swapped=0.3, truncated=0.2, keywords=0.1)


def test_shares_are_as_asked() -> None:
    keys = World().scenes(range(20_000)).key
    shares = np.bincount(noise_kinds(keys, NOISE), minlength=4) / 20_000
    assert np.abs(shares - [0.4, 0.3, 0.2, 0.1]).max() < 0.015
    assert (noise_kinds(keys, Noise(swapped=0)) == 0).all() and (noise_kinds(keys, Noise(swapped=1)) == 1).all()


def test_each_caption_has_the_noise_it_is_said_to_have() -> None:
    clean, noisy = World(), NoisyWorld(noise=NOISE)
    batch, true = noisy.batch(range(400)), clean.captions(range(400))
    scenes, tokens = clean.scenes(range(400)), load_tokenizer()
    names = load_emoji().names("en")
    said = noisy.captions(range(400))
    assert [tokens.decode(row) for row in batch["text"]] == said
    for row, kind in enumerate(batch["noise"].tolist()):
        facts = {names[n] for n in scenes.noun[row] if n >= 0}
        if NOISES[kind] == "clean":
            assert said[row] == true[row]
        elif NOISES[kind] == "swapped":
            assert said[row] not in captions(scenes[[row] * 4], phrasing=np.arange(4))
        elif NOISES[kind] == "truncated":
            assert true[row].startswith(said[row]) and 0 < len(said[row].split()) < len(true[row].split())
        else:
            words = said[row].split()
            colours = {COLOURS[scenes.plate[row, k]] for k in range(4) if scenes.noun[row, k] >= 0}
            ground = BACKGROUNDS[scenes.background[row]]
            assert facts <= set(words) and set(words) - facts < colours | {ground} and len(set(words)) == len(words)
    assert torch.equal(batch["image"], clean.batch(range(400))["image"])


def test_noise_depends_on_neither_batch_nor_order_and_spares_negatives() -> None:
    noisy = NoisyWorld(noise=NOISE)
    whole = noisy.batch(range(64), negatives=("object",))
    parts = [noisy.batch(part, negatives=("object",)) for part in np.array_split(np.arange(64), 5)]
    assert all(torch.equal(torch.cat([part[key] for part in parts]), whole[key]) for key in whole)
    assert torch.equal(whole["negatives"][:, 0], World().changes(range(64), "object")["text"])


def test_a_swapped_caption_is_never_true_even_where_scenes_are_few() -> None:
    spec = SceneSpec(objects=(1, 1), nouns=2, plates=1, backgrounds=1)
    noisy = NoisyWorld(spec=spec, noise=Noise(swapped=1))
    scenes = noisy.scenes(range(60))
    assert len(np.unique(content(scenes))) > 1
    for row, text in enumerate(noisy.captions(range(60))):
        assert text not in captions(scenes[[row] * 4], phrasing=np.arange(4))


def test_truncating_keeps_at_least_a_word() -> None:
    for bits in np.linspace(0, 2**64 - 2**12, 50).astype(np.uint64):
        cut = truncate("we see the dog, on red", np.array([bits]))
        assert "we see the dog, on red".startswith(cut) and 1 <= len(cut.split()) <= 5 and not cut.endswith(",")
    assert truncate("dog", np.zeros(1, np.uint64)) == "dog"


@pytest.mark.parametrize("shares", [{"swapped": -0.1}, {"swapped": 1.5}, {"swapped": 0.6, "truncated": 0.6}])
def test_shares_must_be_shares(shares: dict) -> None:
    with pytest.raises(ValueError, match="shares of all captions"):
        Noise(**shares)

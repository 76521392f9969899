"""Models as functions: what they return is what the model's public calls give, pair by pair."""

import pytest
import torch

from tinyvlm.data.emoji import load_emoji
from tinyvlm.data.tokenizer import load_tokenizer
from tinyvlm.encoders import normalise
from tinyvlm.experiments import scores
from tinyvlm.experiments.measure import hidden_nouns
from tinyvlm.experiments.words import content_rates
from tinyvlm.experiments.worlds import world
from tinyvlm.models.albef import ALBEF
from tinyvlm.models.clip import CLIP
from tinyvlm.models.pixel_bert import PixelBERT

VAL = world("val", 0, 48)


def made(kind: type) -> torch.nn.Module:
    torch.manual_seed(0)
    return kind.named("micro").eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", [CLIP, ALBEF])
def test_cosines_hold_every_picture_against_every_caption(kind: type) -> None:
    model, batch = made(kind), VAL.batch(range(4))
    inputs = batch["image"], batch["text"], batch["text_mask"]
    matrix = scores.cosines(model)(batch)
    for i in range(4):
        for j in range(4):
            image = model.encode_image(normalise(batch["image"][i : i + 1]))
            text = model.encode_text(batch["text"][j : j + 1], batch["text_mask"][j : j + 1])
            assert matrix[i, j].item() == pytest.approx((image @ text.T).item(), abs=1e-5)
    torch.testing.assert_close(scores.cosine(model)(*inputs), matrix.diagonal())
    assert matrix.std() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("kind", [PixelBERT, ALBEF])
def test_matching_is_the_score_of_the_forward_pass(kind: type) -> None:
    model, batch = made(kind), VAL.batch(range(4))
    out = model(normalise(batch["image"]), batch["text"], batch["text_mask"])
    found = scores.matching(model)(batch["image"], batch["text"], batch["text_mask"])
    torch.testing.assert_close(found, out.score)
    torch.testing.assert_close(found, out.matching[:, 1] - out.matching[:, 0])


@pytest.mark.parametrize("kind", [PixelBERT, ALBEF])
def test_words_are_asked_at_the_hidden_places_only(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that always says one word is right as often as that word is a noun of the captions."""
    model, batch, rates = made(kind), VAL.batch(range(32)), content_rates()
    noun, seen = rates[batch["text"]] == rates.max(), {}
    nouns = VAL.scenes(range(32)).noun
    first = nouns[nouns >= 0][0]
    word = load_tokenizer().id(load_emoji().names("en")[first])
    inner = model.predict_words

    def one_word(image: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        seen.update(ids=ids, hidden=hidden, mean=image.mean())
        logits = torch.zeros_like(inner(image, ids, mask, hidden))
        logits[:, word] = 1.0
        return logits

    monkeypatch.setattr(model, "predict_words", one_word)
    share = hidden_nouns(scores.words(model), VAL, model.config.mask_id, 32)
    assert share == pytest.approx((nouns[nouns >= 0] == first).mean())
    assert torch.equal(seen["hidden"], noun) and seen["mean"].abs() < 1.1
    assert (seen["ids"][noun] == model.config.mask_id).all() and torch.equal(seen["ids"][~noun], batch["text"][~noun])

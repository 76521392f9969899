"""CLIP on the course's own captions: where a text ends, with a mask, without one, and after an export."""

import pytest
import torch

from tinyvlm.data import World, load_tokenizer
from tinyvlm.interop.hf import clip_to_hf
from tinyvlm.models import CLIP

BATCH = World("val").batch(range(8))


@pytest.mark.parametrize("size", ["micro", "small"])
def test_the_end_is_found_without_a_mask(size: str) -> None:
    torch.manual_seed(0)
    model = CLIP.named(size).eval()
    assert model.config.end_id == load_tokenizer().eos
    assert torch.equal(model._before_end(BATCH["text"]), BATCH["text_mask"])
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode_text(BATCH["text"]), model.encode_text(BATCH["text"], BATCH["text_mask"])
        )


def test_an_exported_small_reads_the_same_token() -> None:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    model = CLIP.named("small").eval()
    state, values = clip_to_hf(model.state_dict(), model.config.to_dict())
    theirs = CLIPModel(CLIPConfig.from_dict(values)).eval()
    theirs.load_state_dict(state, strict=False)
    with torch.no_grad():
        image = torch.randn(2, 3, 64, 64)
        out = theirs(input_ids=BATCH["text"], pixel_values=image)
        torch.testing.assert_close(
            model.encode_text(BATCH["text"], BATCH["text_mask"]), out.text_embeds, rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(model.encode_image(image), out.image_embeds, rtol=1e-4, atol=1e-5)


def test_end_token_two_cannot_be_exported() -> None:
    model = CLIP(CLIP.Config.named("small").replace(end_id=2))
    with pytest.raises(ValueError, match="end token other than 2"):
        clip_to_hf(model.state_dict(), model.config.to_dict())

"""Training steps of ViT and CLIP against other libraries, at equal size, on the same batch."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from tinyvlm.encoders import TextConfig, VisionConfig
from tinyvlm.models import CLIP, CLIPConfig, CLIPTask, ViT, ViTConfig, ViTTask

REFERENCE = Path(__file__).resolve().parents[1] / ".reference"
Contenders = dict[str, Callable[[], object]]


def step(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """One update with the same optimiser for everybody."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def run() -> None:
        loss().backward()
        optimiser.step()
        optimiser.zero_grad()

    return run


def vit(batch: int = 8) -> tuple[str, Contenders]:
    """ViT-Ti/16 at 224 px, against transformers and, where `make reference` has put it, timm."""
    from transformers import ViTConfig as TheirConfig
    from transformers import ViTForImageClassification

    image, label = torch.randn(batch, 3, 224, 224), torch.randint(0, 1000, (batch,))
    ours = ViTTask(ViT(ViTConfig.named("Ti/16"))).train()
    theirs = ViTForImageClassification(
        TheirConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, num_labels=1000)
    ).train()
    found: Contenders = {
        "tinyvlm": step(ours, lambda: ours({"image": image, "label": label})["cross_entropy"].mean),
        "transformers": step(theirs, lambda: theirs(pixel_values=image, labels=label).loss),
    }
    sizes = {sum(p.numel() for p in model.parameters()) for model in (ours, theirs)}
    assert len(sizes) == 1, f"sizes differ: {sizes}"
    return f"ViT-Ti/16 training step, {sizes.pop():,} parameters, batch {batch}, 224 px, float32", found


VISION = {"image_size": 224, "patch": 32, "width": 256, "layers": 6, "heads": 4}
TEXT = {"vocabulary": 4096, "context": 77, "width": 256, "layers": 4, "heads": 4}


def clip(batch: int = 16) -> tuple[str, Contenders]:
    """A small CLIP with patch 32, against transformers and open_clip."""
    from transformers import CLIPConfig as TheirConfig
    from transformers import CLIPModel

    gelu = {"activation": "quick_gelu", "eps": 1e-5}
    config = CLIPConfig(
        vision=VisionConfig(**VISION, hidden=1024, norm_before=True, patch_bias=False, **gelu),
        text=TextConfig(**TEXT, hidden=1024, **gelu),
        embedding=256,
    )
    ours = CLIPTask(CLIP(config)).train()
    shared = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
    theirs = CLIPModel(TheirConfig(
        vision_config={**shared, "num_hidden_layers": 6, "image_size": 224, "patch_size": 32},
        text_config={**shared, "num_hidden_layers": 4, "vocab_size": 4096, "max_position_embeddings": 77,
                     "bos_token_id": 4094, "eos_token_id": 4095, "pad_token_id": 0},
        projection_dim=256,
    )).train()  # fmt: skip
    image, text = torch.randn(batch, 3, 224, 224), torch.randint(1, 4000, (batch, 77))
    text[:, -1] = 4095
    given = {"image": image, "text": text, "text_mask": torch.ones_like(text, dtype=torch.bool)}
    found: Contenders = {
        "tinyvlm": step(ours, lambda: ours(given)["contrastive"].mean),
        "transformers": step(theirs, lambda: theirs(input_ids=text, pixel_values=image, return_loss=True).loss),
    }
    models: list[nn.Module] = [ours, theirs]
    other = open_clip()
    if other is not None:
        model, loss = other
        models.append(model)

        def contrastive() -> Tensor:
            pictures, words, scale = model(image, text)
            return loss(pictures, words, scale)

        found["open_clip"] = step(model, contrastive)
    sizes = {sum(p.numel() for p in model.parameters()) for model in models}
    assert len(sizes) == 1, f"sizes differ: {sizes}"
    return f"CLIP training step, {sizes.pop():,} parameters, batch {batch}, 224 px, 77 tokens, float32", found


def open_clip() -> tuple[nn.Module, nn.Module] | None:
    """open_clip's model of the same size and its loss; None where `make reference` has not put it."""
    if not (REFERENCE / "open_clip").is_dir():
        return None
    sys.path.append(str(REFERENCE))
    register = torch.library.register_fake
    # Beside a CPU torch torchvision's operators lack, and registering their shapes fails: nobody here needs them.
    torch.library.register_fake = lambda name, *a, **k: (
        (lambda function: function) if str(name).startswith("torchvision::") else register(name, *a, **k)
    )
    try:
        from open_clip.loss import ClipLoss
        from open_clip.model import CLIP as Theirs
    finally:
        torch.library.register_fake = register
    model = Theirs(
        embed_dim=256,
        quick_gelu=True,
        vision_cfg={"image_size": 224, "patch_size": 32, "width": 256, "layers": 6, "head_width": 64},
        text_cfg={"vocab_size": 4096, "context_length": 77, "width": 256, "layers": 4, "heads": 4},
    )
    return model.train(), ClipLoss()

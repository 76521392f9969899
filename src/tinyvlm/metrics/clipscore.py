"""CLIPScore and RefCLIPScore on given vectors: how well a caption fits its picture in the eyes of one model.

Published values use OpenAI's ViT-B/32 and put "A photo depicts " before every caption; other weights give another
scale, so compare only numbers from the same model. A model scored with its own vectors marks its own homework.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tinyvlm.metrics.arguments import checked

WEIGHT = 2.5  # stretches the cosines that CLIP really gives, seldom above 0.4, over about [0, 1]


@checked
def clip_score(images: Float[Tensor, "images width"], captions: Float[Tensor, "_ width"]) -> Float[Tensor, "images"]:
    """2.5 max(cos, 0) of each picture's vector with its caption's, in [0, 2.5]; the mean is the corpus's score.

    images, captions: embeddings, not necessarily of length 1; row i of one belongs to row i of the other. Computed in
    float32 at least. Source: Hessel et al., EMNLP 2021 (arXiv 2104.08718), section 3. ValueError for no pairs, numbers
    of rows that differ, or a vector that is zero or not finite.
    """
    return WEIGHT * _cosine(images, captions, "images", "captions").clamp(min=0)


@checked
def ref_clip_score(
    images: Float[Tensor, "images width"],
    captions: Float[Tensor, "_ width"],
    references: Float[Tensor, "_ _ width"],
    real: Bool[Tensor, "_ _"] | None = None,
) -> Float[Tensor, "images"]:
    """Harmonic mean of CLIPScore and the highest cosine of the caption with a reference caption, in [0, 10/7].

    references: embeddings of each picture's reference captions. real: False where that place is only filled up,
    because some pictures have fewer references; without it all count. A negative cosine counts as 0, and if either
    part is 0, so is the mean. Source: Hessel et al., section 3. ValueError as for `clip_score`, and if a picture has
    no reference.
    """
    score = clip_score(images, captions)
    pairs, most = references.shape[:2]
    if pairs != len(captions) or most == 0:
        raise ValueError(
            f"references of shape {tuple(references.shape)} with {len(captions)} captions: "
            "pass at least one reference for every caption."
        )
    captions, references = captions.to(images.device), references.to(images.device)
    real = torch.ones(pairs, most, dtype=torch.bool) if real is None else real
    real = real.to(images.device)
    if real.shape != (pairs, most) or not bool(real.any(dim=1).all()):
        raise ValueError("A caption has no reference that `real` marks True: mark at least one, or leave it out.")
    # Only real references are checked and compared: the others may hold anything, zeros too.
    repeated = captions[:, None].expand(-1, most, -1)
    cosines = torch.full((pairs, most), -1.0, dtype=score.dtype, device=score.device)
    cosines[real] = _cosine(references[real], repeated[real], "references", "captions")
    nearest = cosines.amax(dim=1).clamp(min=0)
    total = score + nearest
    return torch.where(total > 0, 2 * score * nearest / total.clamp(min=torch.finfo(total.dtype).tiny), total)


def _cosine(first: Tensor, second: Tensor, name: str, other: str) -> Tensor:
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"{len(first)} {name} and {len(second)} {other}: pass the same number of both, at least one.")
    vectors = []
    for vector, what in ((first, name), (second, other)):
        vector = vector.to(first.device, torch.promote_types(vector.dtype, torch.float32))
        length = vector.norm(dim=-1, keepdim=True)
        if not bool((length.isfinite() & (length > 0)).all()):
            raise ValueError(f"A vector in {what} is zero or not finite, so it has no direction: find what made it.")
        vectors.append(vector / length)
    # Rounding takes the cosine of a vector with itself above 1, and a score above its maximum.
    return (vectors[0] * vectors[1]).sum(dim=-1).clamp(max=1)

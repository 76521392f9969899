"""A model as the functions that `measure` asks for. Inputs come from the CPU, and answers return to it.

They need no more of a model than its public calls: `device`, `encode_image`, `encode_text`, the `score` of its forward
pass, and `predict_words`. A model without one of them raises AttributeError when it is scored.
"""

from typing import Any

from torch import Tensor

from tinyvlm.encoders import normalise
from tinyvlm.experiments.measure import Matrix, Predict, Score


def _inputs(model: Any, image: Tensor, *texts: Tensor) -> tuple[Tensor, ...]:
    """Normalised pictures, ids and masks on the model's device."""
    return normalise(image.to(model.device)), *(text.to(model.device) for text in texts)


def cosines(model: Any) -> Matrix:
    """Cosines of all pictures (rows) with all captions (columns) of a batch, by two towers."""

    def score(batch: dict[str, Tensor]) -> Tensor:
        image, text, mask = _inputs(model, batch["image"], batch["text"], batch["text_mask"])
        found: Tensor = model.encode_image(image) @ model.encode_text(text, mask).T
        return found.cpu()

    return score


def cosine(model: Any) -> Score:
    """Cosine of each picture with its own caption, by two towers."""

    def score(image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        image, text, mask = _inputs(model, image, text, mask)
        found: Tensor = (model.encode_image(image) * model.encode_text(text, mask)).sum(1)
        return found.cpu()

    return score


def matching(model: Any) -> Score:
    """Matching score of each picture and its caption, by a model that reads them together."""

    def score(image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = model(*_inputs(model, image, text, mask)).score
        return found.cpu()

    return score


def words(model: Any) -> Predict:
    """Logits of the hidden words of captions, given their pictures."""

    def predict(image: Tensor, text: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
        found: Tensor = model.predict_words(*_inputs(model, image, text, mask, hidden))
        return found.cpu()

    return predict

"""Segmentation: intersection over union of classes, pooled over the data set.

Pooling before dividing is the rule of PASCAL VOC, Cityscapes and ADE20k. The mean of each picture's mIoU is another,
mostly higher number, in which a class seen in one corner of one picture weighs as much as one that fills it.
"""

import torch
from jaxtyping import Float64, Int64, Integer
from torch import Tensor

from tinyvlm.metrics.arguments import checked

IGNORE = 255
MOST_CLASSES = 10_000  # a matrix of 800 MB


@checked
def confusion_matrix(
    predicted: Integer[Tensor, "..."], truth: Integer[Tensor, "..."], classes: int, ignore: int = IGNORE
) -> Int64[Tensor, "classes classes"]:
    """How many pixels of each true class (row) were given each class (column); matrices of a data set add up.

    predicted, truth: class of every pixel, integers of one shape, for instance [B, H, W]. ignore: true value of the
    pixels that do not count, whatever was predicted there. ValueError for shapes that differ, no class or more than
    10,000, or a value outside [0, classes - 1] on a pixel that counts.
    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f"predicted has shape {tuple(predicted.shape)} and truth {tuple(truth.shape)}: "
            "resize the prediction to the size of the truth."
        )
    if not 1 <= classes <= MOST_CLASSES:
        raise ValueError(f"classes={classes}: pass the number of classes, 1 to {MOST_CLASSES}.")
    held = torch.iinfo(truth.dtype)  # PyTorch would compare 255 with int8 as -1
    keep = truth != ignore if held.min <= ignore <= held.max else torch.ones_like(truth, dtype=torch.bool)
    true, guess = truth[keep].long(), predicted.to(truth.device)[keep].long()
    for name, values in (("truth", true), ("predicted", guess)):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise ValueError(
                f"{name} holds {int(values.min())} to {int(values.max())} on pixels that count: with {classes} classes "
                f"allowed are 0 to {classes - 1}, and {ignore} in truth for pixels to leave out."
            )
    return torch.bincount(true * classes + guess, minlength=classes**2).view(classes, classes)


@checked
def class_iou(confusion: Integer[Tensor, "classes classes"]) -> Float64[Tensor, "classes"]:
    """Intersection over union of each class, in [0, 1]; NaN for a class that neither occurs nor was predicted."""
    shared = confusion.diagonal().double()
    return shared / (confusion.sum(dim=0) + confusion.sum(dim=1) - shared)


@checked
def mean_iou(
    predicted: Integer[Tensor, "..."], truth: Integer[Tensor, "..."], classes: int, ignore: int = IGNORE
) -> float:
    """Mean over classes of their pooled intersection over union, in [0, 1] (Everingham et al., VOC 2010, section 4).

    predicted, truth: a whole data set, or one picture; for pictures of several sizes add up their `confusion_matrix`
    and use `mean_class_iou`. Classes absent from both are left out, not counted as 0. ValueError as for
    `confusion_matrix`, and if no pixel counts.
    """
    return mean_class_iou(confusion_matrix(predicted, truth, classes, ignore))


@checked
def mean_class_iou(confusion: Integer[Tensor, "classes classes"]) -> float:
    """Mean of `class_iou` over the classes that occur or were predicted, in [0, 1]. ValueError if none does."""
    if not bool(confusion.any()):
        raise ValueError("No pixel counts, so there is no class to average over: pass truth that is not all ignored.")
    return float(class_iou(confusion).nanmean())

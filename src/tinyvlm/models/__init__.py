"""One file per paper. `task` says how a paper is trained, `base` how it is saved and loaded."""

from tinyvlm.models.clip import CLIP, CLIPConfig, CLIPTask
from tinyvlm.models.task import Task, Term
from tinyvlm.models.vit import ViT, ViTConfig, ViTTask

__all__ = ["CLIP", "CLIPConfig", "CLIPTask", "Task", "Term", "ViT", "ViTConfig", "ViTTask"]

"""One file per paper. `task` says how a paper is trained, `base` how it is saved and loaded."""

from tinyvlm.models.albef import ALBEF, ALBEFConfig
from tinyvlm.models.albef_task import ALBEFTask
from tinyvlm.models.clip import CLIP, CLIPConfig, CLIPTask
from tinyvlm.models.pixel_bert import PixelBERT, PixelBERTConfig, PixelBERTTask
from tinyvlm.models.task import Task, Term
from tinyvlm.models.vit import ViT, ViTConfig, ViTTask
from tinyvlm.models.vlmo import VLMo, VLMoConfig
from tinyvlm.models.vlmo_task import VLMoTask, VLMoTextTask

__all__ = [
    "ALBEF",
    "CLIP",
    "ALBEFConfig",
    "ALBEFTask",
    "CLIPConfig",
    "CLIPTask",
    "PixelBERT",
    "PixelBERTConfig",
    "PixelBERTTask",
    "Task",
    "Term",
    "VLMo",
    "VLMoConfig",
    "VLMoTask",
    "VLMoTextTask",
    "ViT",
    "ViTConfig",
    "ViTTask",
]

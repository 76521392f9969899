"""One file per paper. `task` says how a paper is trained, `base` how it is saved and loaded."""

from tinyvlm.models.albef import ALBEF, ALBEFConfig
from tinyvlm.models.albef_task import ALBEFTask
from tinyvlm.models.clip import CLIP, CLIPConfig, CLIPTask
from tinyvlm.models.maskvlm import MaskVLM, MaskVLMConfig
from tinyvlm.models.maskvlm_task import MaskVLMTask
from tinyvlm.models.pixel_bert import PixelBERT, PixelBERTConfig, PixelBERTTask
from tinyvlm.models.task import Task, Term
from tinyvlm.models.vit import ViT, ViTConfig, ViTTask

__all__ = [
    "ALBEF",
    "CLIP",
    "ALBEFConfig",
    "ALBEFTask",
    "CLIPConfig",
    "CLIPTask",
    "MaskVLM",
    "MaskVLMConfig",
    "MaskVLMTask",
    "PixelBERT",
    "PixelBERTConfig",
    "PixelBERTTask",
    "Task",
    "Term",
    "ViT",
    "ViTConfig",
    "ViTTask",
]

"""One file per paper. `task` says how a paper is trained, `base` how it is saved and loaded."""

from tinyvlm.models.albef import ALBEF, ALBEFConfig
from tinyvlm.models.albef_task import ALBEFTask
from tinyvlm.models.beit import BEiT, BEiTConfig
from tinyvlm.models.beit_task import BEiTTask
from tinyvlm.models.clip import CLIP, CLIPConfig, CLIPTask
from tinyvlm.models.maskvlm import MaskVLM, MaskVLMConfig
from tinyvlm.models.maskvlm_task import MaskVLMTask
from tinyvlm.models.pixel_bert import PixelBERT, PixelBERTConfig, PixelBERTTask
from tinyvlm.models.task import Task, Term
from tinyvlm.models.tokenizers import TokenizerConfig, TokenizerTask, VisualTokenizer
from tinyvlm.models.vit import ViT, ViTConfig, ViTTask
from tinyvlm.models.vlmo import VLMo, VLMoConfig
from tinyvlm.models.vlmo_task import VLMoTask, VLMoTextTask

__all__ = [
    "ALBEF",
    "CLIP",
    "ALBEFConfig",
    "ALBEFTask",
    "BEiT",
    "BEiTConfig",
    "BEiTTask",
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
    "TokenizerConfig",
    "TokenizerTask",
    "VLMo",
    "VLMoConfig",
    "VLMoTask",
    "VLMoTextTask",
    "ViT",
    "ViTConfig",
    "ViTTask",
    "VisualTokenizer",
]

"""Towers that papers share. Floor 3."""

from tinyvlm.encoders.bert import BertConfig, BertEmbedding, BertPooler, WordPredictor, bert_blocks, last_norm
from tinyvlm.encoders.text import TextConfig, TextTransformer
from tinyvlm.encoders.vision import VisionConfig, VisionTransformer, check_images, normalise

__all__ = [
    "BertConfig",
    "BertEmbedding",
    "BertPooler",
    "TextConfig",
    "TextTransformer",
    "VisionConfig",
    "VisionTransformer",
    "WordPredictor",
    "bert_blocks",
    "check_images",
    "last_norm",
    "normalise",
]

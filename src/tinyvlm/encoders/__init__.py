"""Towers that papers share. Floor 3."""

from tinyvlm.encoders.text import TextConfig, TextTransformer
from tinyvlm.encoders.vision import VisionConfig, VisionTransformer, check_images, normalise

__all__ = ["TextConfig", "TextTransformer", "VisionConfig", "VisionTransformer", "check_images", "normalise"]

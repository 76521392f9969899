"""The emoji world and the data sets of the hub. Names load their modules when first used."""

from importlib import import_module

_HOMES = {
    "World": "world",
    "SceneSpec": "scenes",
    "Scenes": "scenes",
    "SPLITS": "scenes",
    "sample_scenes": "scenes",
    "CHANGES": "changes",
    "change_scenes": "changes",
    "changed_captions": "changes",
    "load_emoji": "emoji",
    "load_tokenizer": "tokenizer",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

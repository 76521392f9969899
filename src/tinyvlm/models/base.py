"""What every paper's model can do besides its forward pass: be named, counted, saved, loaded and shared.

Files are those of the ecosystem: a folder with `config.json` and `model.safetensors` (never pickle). `from_pretrained`
takes such a folder or a Hub id, ours or an official checkpoint of the same paper, which is recognised by its
configuration and converted by `tinyvlm.interop`.
"""

import errno
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tinyvlm import __version__
from tinyvlm.config import Config
from tinyvlm.files import write_text, write_together

State = dict[str, Tensor]
Converter = Callable[[State, dict[str, Any]], tuple[State, dict[str, Any]]]

# Not `Self`: the checker of the tests decorates methods one by one, and then cannot know what `Self` is.
Model = TypeVar("Model", bound="PaperModel")

WEIGHTS, CONFIG = "model.safetensors", "config.json"
OPEN_CLIP_WEIGHTS, OPEN_CLIP = "open_clip_model.safetensors", "open_clip_config.json"


@dataclass(frozen=True)
class Card:
    """What a model is, in the course's terms. Pages and tables are made from it."""

    paper: str
    arxiv: str
    towers: str
    fusion: str
    objectives: tuple[str, ...]
    frozen: str
    output: str


def compare(*models: "type[PaperModel]") -> str:
    """The models' cards side by side as a Markdown table: what changed from one week to the next."""
    lines = [["", *(model.__name__ for model in models)], ["---"] * (len(models) + 1)]
    for row in ("towers", "fusion", "objectives", "frozen", "output"):
        values = [getattr(model.CARD, row) for model in models]
        lines.append([row, *(value if isinstance(value, str) else ", ".join(value) for value in values)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class PaperModel(nn.Module):
    """Base class of the papers' models. Subclasses set `Config`, `CARD` and, for official weights, `FOREIGN`."""

    Config: ClassVar[type[Config]]
    CARD: ClassVar[Card]
    # Official formats by the `model_type` of their config.json.
    FOREIGN: ClassVar[Mapping[str, Converter]] = {}

    def __init__(self, config: Any):
        super().__init__()
        self.config = config

    @classmethod
    def named(cls: type[Model], size: str, **changes: Any) -> Model:
        """A randomly initialised model of a named size, e.g. `CLIP.named("micro")` or `CLIP.named("ViT-B/32")`."""
        return cls(cls.Config.named(size, **changes))

    @property
    def device(self) -> torch.device:
        """Where the parameters are; those of a frozen model are buffers."""
        return next(chain(self.parameters(), self.buffers())).device

    def count(self, trainable: bool | None = None) -> int:
        """Number of parameters: all, or only the (un)trainable ones."""
        return sum(p.numel() for p in self.parameters() if trainable is None or p.requires_grad == trainable)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> Path:
        """Write `model.safetensors` and `config.json`; existing files survive a failure. Returns the folder.

        `dtype` stores the weights in another precision (float16 halves the file); loading brings them to float32.
        """
        folder = Path(folder)
        state = {name: value.detach().cpu().to(dtype).contiguous() for name, value in self.state_dict().items()}
        header = {"model_type": "tinyvlm", "model": type(self).__name__, "version": __version__}
        text = json.dumps({**header, "config": self.config.to_dict()}, indent=2) + "\n"
        write_together(
            {folder / WEIGHTS: lambda path: _save(state, path), folder / CONFIG: lambda path: path.write_text(text)}
        )
        return folder

    @classmethod
    def from_pretrained(cls: type[Model], source: str | Path, *, revision: str | None = None) -> Model:
        """Load from a folder or a Hub id, on the CPU, in float32 and evaluation mode.

        Raises FileNotFoundError (nothing there, or no network) and ValueError (damaged, foreign, or not fitting).
        """
        folder = Path(source) if Path(source).is_dir() else _download(str(source), revision)
        config, state = _read(folder)
        if config.get("model_type") != "tinyvlm":
            return cls.from_foreign(state, config, str(source))
        if config.get("model") != cls.__name__:
            raise ValueError(f"{source} holds a {config.get('model')}, not a {cls.__name__}; load it with that class")
        if not isinstance(config.get("config"), dict):
            raise ValueError(f"{Path(folder) / CONFIG} lacks the model's configuration; save the checkpoint again")
        return cls._filled(state, config["config"], str(source))

    @classmethod
    def from_foreign(cls: type[Model], state: State, config: dict[str, Any], source: str = "the given state") -> Model:
        """A model out of an official checkpoint's tensors and configuration (its `model_type` says whose)."""
        kind = config.get("model_type", "unknown")
        if kind not in cls.FOREIGN:
            known = ", ".join(["tinyvlm", *cls.FOREIGN])
            raise ValueError(f"{source} is of type {kind!r}; {cls.__name__} can load {known}: choose such a checkpoint")
        try:
            ours, values = cls.FOREIGN[kind](state, config)
        except KeyError as error:
            raise ValueError(f"{source} is no whole {kind!r} checkpoint: it lacks {error}; fetch it again") from error
        return cls._filled(ours, values, source)

    @classmethod
    def _filled(cls: type[Model], state: State, values: dict[str, Any], source: str) -> Model:
        config = cls.Config.from_dict(values)
        with torch.device("meta"):
            model = cls(config)
        expected = model.state_dict()
        missing = sorted(set(expected) - set(state))
        strangers = sorted(set(state) - set(expected))
        wrong = [
            f"{name} {list(state[name].shape)} instead of {list(expected[name].shape)}"
            for name in expected
            if name in state and state[name].shape != expected[name].shape
        ]
        problems = [
            f"{label} {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}"
            for label, names in (("lacks", missing), ("has unknown", strangers), ("has shapes", wrong))
            if names
        ]
        if problems:
            raise ValueError(f"{source} does not fit {cls.__name__}: it {'; '.join(problems)}. Is it another model?")
        model.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model.eval()

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload weights, configuration and a model card to the Hub. Returns the address of the commit."""
        import tempfile

        from huggingface_hub import HfApi

        api = HfApi(token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            write_text(Path(folder) / "README.md", self.model_card())
            return str(api.upload_folder(repo_id=repository, folder_path=folder))

    def model_card(self) -> str:
        """The Hub's README for this model, made from `CARD` and the configuration."""
        card = self.CARD
        return (
            "---\nlibrary_name: tinyvlm\nlicense: apache-2.0\n"
            f"tags: [vision-language, {type(self).__name__.lower()}]\n---\n\n"
            f"# {type(self).__name__}, {self.count():,} parameters\n\n"
            f"{card.paper} (arXiv {card.arxiv}). Towers: {card.towers}. Fusion: {card.fusion}. "
            f"Objectives: {', '.join(card.objectives)}. Output: {card.output}.\n\n"
            f"```python\nfrom tinyvlm.models import {type(self).__name__}\n"
            f'model = {type(self).__name__}.from_pretrained("this repository")\n```\n\n'
            f"Configuration:\n\n```json\n{json.dumps(self.config.to_dict(), indent=2)}\n```\n"
        )


def _save(state: State, path: Path) -> None:
    try:
        save_file(state, path, metadata={"format": "pt"})
    except SafetensorError as error:  # what this library makes of a full disk
        raise OSError(errno.EIO, str(error)) from error


def _read(folder: Path) -> tuple[dict[str, Any], State]:
    """Configuration and weights of a folder as we, transformers or open_clip write it."""
    if not (folder / CONFIG).is_file() and not (folder / OPEN_CLIP).is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG}; point to a folder written by save_pretrained")
    if (folder / OPEN_CLIP).is_file():  # beside it may lie a config.json of transformers, for the same weights
        config, weights = {"model_type": "open_clip", **_json(folder / OPEN_CLIP)["model_cfg"]}, OPEN_CLIP_WEIGHTS
    else:
        config, weights = _json(folder / CONFIG), WEIGHTS
    index = folder / f"{WEIGHTS}.index.json"
    parts = sorted(set(_json(index)["weight_map"].values())) if index.is_file() else [weights]
    state: State = {}
    for part in parts:
        try:
            state.update(load_file(folder / part))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{folder} has no {part}; this course never unpickles: convert the checkpoint with its own library's "
                "save_pretrained first"
            ) from None
        except SafetensorError as error:
            raise ValueError(f"{folder / part} is damaged or cut short ({error}); fetch or save it again") from error
    return config, state


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); fetch or save the checkpoint again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object; fetch or save the checkpoint again")
    return value


def _download(name: str, revision: str | None) -> Path:
    """A Hub repository's configuration and weights in the local cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    remedy = "pass a folder written by save_pretrained, or go online once so that it lands in the local cache"
    wanted = ["*.json", "*.safetensors"]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
        if revision is None and not any(folder.glob("*.safetensors")) and (converted := _conversion(name)):
            folder = Path(snapshot_download(name, revision=converted, allow_patterns=wanted))
        return folder
    except HFValidationError as error:
        raise FileNotFoundError(f"{name} is neither a folder nor a Hub id: {remedy}") from error
    except (LocalEntryNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(f"{name} is not in the local cache and the Hub cannot be reached: {remedy}") from error
    except Exception as error:  # what a failed connection raises depends on the client's version
        raise FileNotFoundError(f"the Hub does not give {name} ({type(error).__name__}): {remedy}") from error


def _conversion(name: str) -> str | None:
    """The branch on which the Hub's converter offers a pickled checkpoint as safetensors; None if there is none.

    Official checkpoints of 2021 and 2022 are often older than the format and were never converted on their main branch.
    """
    from huggingface_hub import HfApi

    for request in HfApi().get_repo_discussions(name, author="SFconvertbot", discussion_type="pull_request"):
        if "safetensors" in request.title and request.status == "open":
            return str(request.git_reference)
    return None

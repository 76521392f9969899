"""What every paper's model can do besides its forward pass: be named, counted, saved, loaded and shared.

Files are those of the ecosystem: a folder with `config.json` and `model.safetensors` (never pickle). `from_pretrained`
takes such a folder or a Hub id, ours or an official checkpoint of the same paper, which is recognised by its
configuration and converted by `tinyvlm.interop`.
"""

import errno
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from tinyvlm import __version__
from tinyvlm.blueprint import Blueprint, Part
from tinyvlm.config import Config
from tinyvlm.files import write_text, write_together
from tinyvlm.models.folders import CONFIG, OURS, WEIGHTS, State, download, read_folder
from tinyvlm.models.packing import pack, unpack

Converter = Callable[[State, dict[str, Any]], tuple[State, dict[str, Any]]]

# Not `Self`: the checker of the tests decorates methods one by one, and then cannot know what `Self` is.
Model = TypeVar("Model", bound="PaperModel")

STORED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    """Base class of the papers' models. Subclasses set `Config`, `CARD`, `BLUEPRINT` and, for
    official weights, `FOREIGN`."""

    Config: ClassVar[type[Config]]
    CARD: ClassVar[Card]
    # The parts in the order of the data, drawn by `viz.blueprint`: a function of the configuration.
    BLUEPRINT: "ClassVar[staticmethod[[Any], tuple[Part, ...]]]"
    # Official formats by the `model_type` of their config.json.
    FOREIGN: ClassVar[Mapping[str, Converter]] = {}

    def __init__(self, config: Any):
        super().__init__()
        self.config = config

    @classmethod
    def named(cls: type[Model], size: str, **changes: Any) -> Model:
        """A randomly initialised model of a named size, e.g. `CLIP.named("micro")` or `CLIP.named("ViT-B/32")`."""
        return cls(cls.Config.named(size, **changes))

    @classmethod
    def blueprint(cls, size: str, **changes: Any) -> Blueprint:
        """The architecture of a named size as a spec that `viz.blueprint` draws, e.g. `CLIP.blueprint("micro")`."""
        return Blueprint(cls.__name__, size, cls.BLUEPRINT(cls.Config.named(size, **changes)))

    @property
    def device(self) -> torch.device:
        """Where the parameters are; those of a frozen model are buffers."""
        return next(chain(self.parameters(), self.buffers())).device

    def count(self, trainable: bool | None = None) -> int:
        """Number of parameters: all, or only the (un)trainable ones."""
        return sum(p.numel() for p in self.parameters() if trainable is None or p.requires_grad == trainable)

    def save_pretrained(
        self, folder: str | Path, *, dtype: torch.dtype | None = None, words: Sequence[int] | None = None
    ) -> Path:
        """Write `model.safetensors` and `config.json`; existing files survive a failure. Returns the folder.

        `dtype` stores the weights in another precision; loading brings them to float32. float16 halves the file, int8
        quarters it (see `packing`), and word tables then keep the rows of `words` alone where ids are given.
        Checkpoints of other libraries in the folder stay there, and `from_pretrained` reads this one.

        ValueError, before anything is written, for a dtype that holds no real numbers and for weights that it cannot
        hold: NaN, infinity, or above its maximum.
        """
        folder = Path(folder)
        packed = dtype == torch.int8
        plain = torch.float16 if packed else dtype
        state = {name: _stored(name, value, plain) for name, value in self.state_dict().items()}
        if packed:
            state = pack(state, words)
        header = {"model_type": OURS, "model": type(self).__name__, "version": __version__}
        text = json.dumps({**header, "config": self.config.to_dict()}, indent=2) + "\n"
        write_together(
            {folder / WEIGHTS: lambda path: _save(state, path), folder / CONFIG: lambda path: path.write_text(text)}
        )
        return folder

    @classmethod
    def from_pretrained(cls: type[Model], source: str | Path, *, revision: str | None = None) -> Model:
        """Load from a folder or a Hub id, on the CPU, in float32 and evaluation mode.

        Raises FileNotFoundError (nothing there, or no network) and ValueError (damaged, foreign, not fitting, or with
        weights that are no finite real numbers).
        """
        folder = Path(source) if Path(source).is_dir() else download(str(source), revision)
        config, state = read_folder(folder)
        if config.get("model_type") != OURS:
            return cls.from_foreign(state, config, str(source))
        if config.get("model") != cls.__name__:
            raise ValueError(f"{source} holds a {config.get('model')}, not a {cls.__name__}; load it with that class")
        if not isinstance(config.get("config"), dict):
            raise ValueError(f"{Path(folder) / CONFIG} lacks the model's configuration; save the checkpoint again")
        try:
            state = unpack(state)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        return cls._filled(state, config["config"], str(source))

    @classmethod
    def from_foreign(cls: type[Model], state: State, config: dict[str, Any], source: str = "the given state") -> Model:
        """A model out of an official checkpoint's tensors and configuration (its `model_type` says whose)."""
        kind = config.get("model_type", "unknown")
        if not isinstance(kind, str) or kind not in cls.FOREIGN:
            known = ", ".join([OURS, *cls.FOREIGN])
            raise ValueError(f"{source} is of type {kind!r}; {cls.__name__} can load {known}: choose such a checkpoint")
        try:
            ours, values = cls.FOREIGN[kind](state, config)
        except KeyError as error:
            raise ValueError(f"{source} is no whole {kind!r} checkpoint: it lacks {error}; fetch it again") from error
        except ValueError as error:
            raise ValueError(f"{source}: {_line(error)}") from error
        except (TypeError, AttributeError, IndexError, ArithmeticError, RuntimeError) as error:
            raise ValueError(
                f"{source} is no {kind!r} checkpoint that can be read ({type(error).__name__}: {_line(error)}); "
                "fetch it again"
            ) from error
        return cls._filled(ours, values, source)

    @classmethod
    def _filled(cls: type[Model], state: State, values: dict[str, Any], source: str) -> Model:
        model = cls._empty(values, source, most=2 * len(state) + 100)
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
        loaded = {name: _loaded(f"{source}: {name}", value, expected[name].dtype) for name, value in state.items()}
        model.load_state_dict(loaded, assign=True)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model.eval()

    @classmethod
    def _empty(cls: type[Model], values: dict[str, Any], source: str, most: int) -> Model:
        """The model without weights. Building stops at `most` parameters, which a file with fewer tensors cannot fill:
        a configuration of 10^9 layers would otherwise never end."""
        thread, made = threading.get_ident(), 0

        def count(*_: object) -> None:
            nonlocal made
            made += threading.get_ident() == thread
            if made > most:
                raise ValueError("it describes many more weights than the file holds")

        hook = register_module_parameter_registration_hook(count)
        try:
            with torch.device("meta"), _Unfilled():
                return cls(cls.Config.from_dict(values))
        except Exception as error:  # what an impossible size raises depends on the layer
            raise ValueError(
                f"{source} has a configuration of which no {cls.__name__} can be built ({_line(error)}); "
                "fetch or save the checkpoint again"
            ) from error
        finally:
            hook.remove()

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


class _Unfilled(TorchFunctionMode):
    """Leaves out random starting values: on the meta device they are none, and drawing them imports PyTorch's compiler,
    which takes seconds."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _stored(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """One tensor as `save_pretrained` writes it. Counters keep their dtype: only weights have a precision."""
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    if dtype is not None and dtype not in STORED:
        known = ", ".join(str(known).removeprefix("torch.") for known in (*STORED, torch.int8))
        raise ValueError(f"dtype={dtype} cannot hold weights: choose {known}, or none to keep them as they are")
    kept = value.to(dtype)
    if not bool(kept.isfinite().all()):
        extreme = value.abs().max().item()
        remedy = "find the step that produced it" if not math.isfinite(extreme) else "save in bfloat16 or float32"
        raise ValueError(f"{name} holds {extreme:g}, which {kept.dtype} cannot store as a finite number: {remedy}")
    return kept


def _loaded(name: str, value: Tensor, wanted: torch.dtype) -> Tensor:
    """One tensor as the model keeps it: weights in float32, counters as whole numbers."""
    if not wanted.is_floating_point:
        if value.is_floating_point() or value.is_complex():
            raise ValueError(f"{name} is {value.dtype} where whole numbers belong; fetch or save the checkpoint again")
        return value.to(wanted)
    if value.dtype not in STORED:
        raise ValueError(f"{name} is {value.dtype}, no dtype of weights; fetch or save the checkpoint again")
    value = value.float()
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinity; fetch the checkpoint again, or find the step that produced it")
    return value


def _save(state: State, path: Path) -> None:
    try:
        save_file(state, path, metadata={"format": "pt"})
    except SafetensorError as error:  # what this library makes of a full disk
        raise OSError(errno.EIO, str(error)) from error

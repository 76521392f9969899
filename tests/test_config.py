"""Configurations to dictionaries and back, and their named sizes."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest

from tinyvlm.config import Config


@dataclass(frozen=True)
class Tower(Config):
    width: int = 4
    ratio: float = 0.5
    name: str | None = None


@dataclass(frozen=True)
class Model(Config):
    image: Tower = field(default_factory=Tower)
    text: Tower = field(default_factory=lambda: Tower(width=8))
    classes: int = 3
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {"big": {"image": Tower(width=99)}, "plain": {}}


def test_nested_configurations_survive_json():
    config = Model(image=Tower(7, 0.1, "x"), classes=5)
    again = Model.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config and isinstance(again.image, Tower) and isinstance(again.text, Tower)
    assert config.to_dict()["image"] == {"width": 7, "ratio": 0.1, "name": "x"}


def test_fields_that_are_left_out_keep_their_defaults():
    assert Model.from_dict({"image": {"width": 5}}) == Model(image=Tower(5))
    assert Model.from_dict({"image": Tower(5)}) == Model(image=Tower(5))


def test_named_sizes_and_changes_on_top():
    assert Model.named("plain") == Model()
    assert Model.named("big", classes=7) == Model(image=Tower(99), classes=7)
    assert Model.named("big", image=Tower(1)).image.width == 1


def test_an_unknown_size_lists_the_known():
    with pytest.raises(ValueError, match="Model: unknown size 'huge'; choose from big, plain"):
        Model.named("huge")


@pytest.mark.parametrize(("values", "where"), [({"depth": 1}, "Model"), ({"image": {"depth": 1}}, "Tower")])
def test_an_unknown_field_is_named_where_it_stands(values, where):
    with pytest.raises(ValueError, match=rf"{where}: unknown field depth; it has .*checkpoint of another version"):
        Model.from_dict(values)


@dataclass(frozen=True)
class Kinds(Config):
    whole: int = 1
    real: float = 1.0
    switch: bool = True
    word: str = "a"
    maybe: int | None = None
    one_of: Literal["pre", "post"] = "pre"
    many: tuple[int, ...] = (1, 2)
    two: tuple[float, float] = (0.0, 1.0)


@pytest.mark.parametrize(("name", "value"), [
    ("whole", "1"), ("whole", 1.0), ("whole", True), ("whole", None), ("real", "1e-5"), ("real", float("nan")),
    ("real", False), ("switch", 1), ("switch", "true"), ("word", 3), ("maybe", "3"), ("maybe", 2.5), ("one_of", "mid"),
    ("many", 3), ("many", [1, "2"]), ("two", [1.0]), ("two", [0.0, None]), ("word", {"a": 1}),
])  # fmt: skip
def test_a_value_of_another_type_is_named(name, value):
    with pytest.raises(ValueError, match=rf"Kinds: {name} is .* instead of .*; mend the configuration"):
        Kinds.from_dict({name: value})


def test_values_of_the_right_type_are_kept():
    values = {"whole": 2, "real": 3, "switch": False, "word": "", "maybe": 4, "one_of": "post", "many": []}
    assert Kinds.from_dict({**values, "two": [1, 2]}) == Kinds(2, 3, False, "", 4, "post", (), (1, 2))
    with pytest.raises(ValueError, match="Model: image is 3 instead of Tower"):
        Model.from_dict({"image": 3})


def test_replace_gives_a_changed_copy_and_nothing_can_be_changed_in_place():
    config = Model()
    assert config.replace(classes=9).classes == 9 and config.classes == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.classes = 4

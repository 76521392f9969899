"""Two-way renaming from one table."""

import torch

from tinyvlm.interop.renaming import Renaming

TABLE = Renaming([("tower.blocks.{}.mlp.{}.up", "enc.layer.{}.w.{}"), ("head", "fc"), ("scale", "logit_scale")])


def state(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(float(place)) for place, name in enumerate(names)}


def test_numbers_and_leaves_are_carried_over():
    theirs = state("enc.layer.0.w.7.weight", "enc.layer.11.w.2.bias", "fc.weight", "logit_scale")
    ours = TABLE.to_ours(theirs)
    assert list(ours) == ["tower.blocks.0.mlp.7.up.weight", "tower.blocks.11.mlp.2.up.bias", "head.weight", "scale"]
    assert [value.item() for value in ours.values()] == [0, 1, 2, 3]
    assert TABLE.to_theirs(ours).keys() == theirs.keys()


def test_only_whole_names_count_and_the_rest_is_left_out():
    assert TABLE.to_ours(state("fcx.weight", "my.fc.weight", "fc.weight.more", "enc.layer.x.w.1.bias", "fc")) == {
        "head": torch.tensor(4.0)
    }


def test_dots_of_a_name_are_dots():
    assert Renaming([("a", "b.c")]).to_ours(state("bxc")) == {}

"""Charts hold the data they were given, and say it in their alt text."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.offsetbox import AnnotationBbox

from tinyvlm.metrics import Contrast, ContrastTable
from tinyvlm.viz import contrasts_chart, per_seed_plot, similarity_heatmap, training_curves

TABLE = ContrastTable(
    {
        "CLIP": {"object": Contrast(0.97, 1024), "objects swapped": Contrast(0.53, 700)},
        "ALBEF": {"objects swapped": Contrast(0.99, 700)},
    }
)


def test_heatmap_shows_the_matrix() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.3]])
    fig = similarity_heatmap(scores, ["cat", "dog"], ["a cat", "a dog"])
    (picture,) = fig.axes[0].get_images()
    np.testing.assert_allclose(np.asarray(picture.get_array()), scores.numpy())
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["cat", "dog"]
    assert "2 images (rows) and 2 captions" in fig.alt_text and "0.10 to 0.90" in fig.alt_text
    assert "In 1 of 2 rows" in fig.alt_text and "mean is 0.60, that of the rest 0.45" in fig.alt_text


def test_heatmap_shows_pictures_as_rows() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    images[1, 0] = 200
    axes = similarity_heatmap(torch.eye(2), images, ["a", "b"]).axes[0]
    boxes = [artist for artist in axes.artists if isinstance(artist, AnnotationBbox)]
    assert [box.xy[1] for box in boxes] == [0, 1]
    assert [int(box.offsetbox.get_data()[0, 0, 0]) for box in boxes] == [0, 200]
    with pytest.raises(ValueError, match="1 names for 2 rows"):
        similarity_heatmap(torch.eye(2), images[:1])


def test_heatmap_of_more_captions_than_images_claims_no_diagonal() -> None:
    assert "diagonal" not in similarity_heatmap(torch.rand(2, 5)).alt_text


@pytest.mark.parametrize(
    ("scores", "rows", "message"),
    [
        (torch.zeros(3), [], "are no matrix"),
        (torch.zeros(2, 2), ["one"], "1 names for 2 rows"),
        (torch.full((2, 2), torch.nan), [], "NaN"),
    ],
)
def test_heatmap_refuses(scores: torch.Tensor, rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        similarity_heatmap(scores, rows)


def test_curves_draw_every_loss_and_the_moving_average() -> None:
    values = [4.0, 2.0, 3.0, 1.0]
    fig = training_curves({"contrastive": values, "matching": [1.0]}, smooth=2, chance=4.85)
    lines = {line.get_label(): line for line in fig.axes[0].get_lines()}
    np.testing.assert_allclose(lines["contrastive"].get_ydata(), [4.0, 3.0, 2.5, 2.0])
    raw = fig.axes[0].get_lines()[0]
    np.testing.assert_allclose(raw.get_ydata(), values)
    assert lines["guessing"].get_ydata()[0] == 4.85
    assert "over 4 steps" in fig.alt_text and "contrastive from 4 to 2, lowest 2" in fig.alt_text
    assert "guessing is 4.85" in fig.alt_text


def test_a_loss_that_joins_later_is_drawn_from_there_on() -> None:
    nan = float("nan")
    fig = training_curves({"contrastive": [4.0, 3.0, 2.0, 1.0], "matching": [nan, nan, 0.8, 0.4]}, smooth=2)
    line = next(line for line in fig.axes[0].get_lines() if line.get_label() == "matching")
    np.testing.assert_allclose(line.get_xdata(), [3, 4])
    np.testing.assert_allclose(line.get_ydata(), [0.8, 0.6])
    assert "matching from 0.8 to 0.6, lowest 0.6" in fig.alt_text
    with pytest.raises(ValueError, match="no losses to draw"):
        training_curves({"matching": [nan, nan]})


def test_curves_accept_a_history() -> None:
    fig = training_curves(SimpleNamespace(losses={"contrastive": [2.0, 1.0]}), log=True)
    assert fig.axes[0].get_yscale() == "log" and "from 2 to 1" in fig.alt_text


def test_curves_refuse_nothing() -> None:
    with pytest.raises(ValueError, match="no losses to draw"):
        training_curves({"contrastive": []})


@pytest.mark.parametrize("table", [TABLE, TABLE.to_dict()], ids=["table", "receipt"])
def test_contrasts_have_a_bar_a_cell_and_the_line_of_chance(table: ContrastTable) -> None:
    fig = contrasts_chart(table)
    heights = sorted(bar.get_height() for bar in fig.axes[0].patches)
    assert heights == [0.53, 0.97, 0.99]
    assert 0.5 in [line.get_ydata()[0] for line in fig.axes[0].get_lines() if line.get_label() == "chance"]
    assert "CLIP: object 0.97, objects swapped 0.53; ALBEF: objects swapped 0.99" in fig.alt_text


def test_contrasts_refuse_an_empty_table() -> None:
    with pytest.raises(ValueError, match="no forced choice to draw"):
        contrasts_chart(ContrastTable())


def test_per_seed_plot_shows_every_seed_and_the_interval() -> None:
    arms = {"learned": [0.75, 0.78, 0.74], "fixed": [0.04, 0.02, 0.03]}
    fig = per_seed_plot(arms, [0.71, 0.76, 0.71], (0.65, 0.80), metric="R@1", verdict="held")
    left, right = fig.axes
    dots = [points.get_offsets()[:, 1].tolist() for points in left.collections if len(points.get_offsets()) == 3]
    assert dots == [arms["learned"], arms["fixed"]]
    assert right.collections[0].get_offsets()[:, 1].tolist() == [0.71, 0.76, 0.71]
    for words in ("3 seeds", "0.75, 0.78, 0.74", "interval 0.65 to 0.8", "margin of 0: held"):
        assert words in fig.alt_text


def test_one_arm_has_a_value_and_no_difference() -> None:
    alone = per_seed_plot({"CLIP": [0.85, 0.9]}, [0.35, 0.4], (0.1, 0.6))
    assert alone.axes[1].get_title("left") == "value, 95 %" and "ifference" not in alone.alt_text
    two = per_seed_plot({"a": [0.9, 0.8], "b": [0.5, 0.5]}, [0.4, 0.3])
    assert two.axes[1].get_title("left") == "difference" and "Difference, mean 0.35" in two.alt_text
    ratio = per_seed_plot({"a": [0.9, 0.8], "b": [0.5, 0.5]}, [1.8, 1.6], quantity="value")
    assert ratio.axes[1].get_title("left") == "value" and "Value, mean 1.7" in ratio.alt_text


def test_contrasts_name_what_the_change_does() -> None:
    fig = contrasts_chart({"CLIP": {"count": {"value": 1.0, "n": 8}}})
    assert "one object left out 1.00" in fig.alt_text


def test_per_seed_plot_refuses_seeds_that_do_not_pair() -> None:
    with pytest.raises(ValueError, match="Seeds do not pair up \\(a 2, b 1; difference 2\\)"):
        per_seed_plot({"a": [1.0, 2.0], "b": [1.0]}, [0.0, 1.0])

"""The figure itself: alt text reaches the page, pictures stay small, and the reader's settings stay theirs."""

import io
import subprocess
import sys
import warnings

import matplotlib as mpl
import nbformat
import pytest
from matplotlib.figure import Figure as PlainFigure
from PIL import Image

from tinyvlm.viz import Figure, describe, show
from tinyvlm.viz import figure as module
from tinyvlm.viz.figure import listed, style, to_html


def drawn() -> Figure:
    fig = Figure(4.0, 2.0)
    with style():
        fig.subplots().plot([1, 2, 3])
    describe(fig, 'A line from 1 to 3, "straight" & rising.')
    return fig


def test_html_carries_picture_size_and_escaped_alt_text() -> None:
    page = to_html(drawn())
    assert 'alt="A line from 1 to 3, &quot;straight&quot; &amp; rising."' in page
    assert 'width="384" height="192"' in page and 'src="data:image/png;base64,' in page


def test_png_is_a_small_palette_picture() -> None:
    data = drawn().png()
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG" and picture.mode == "P" and picture.size == (440, 220)
    assert len(data) < 15_000
    # Opaque and light: readable on a dark page.
    assert min(picture.convert("RGB").getpixel((1, 1))) > 240  # type: ignore[type-var]


def test_show_displays_html_and_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    shown: list[dict[str, str]] = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: shown.append(data))
    fig = drawn()
    show(fig)
    fig._ipython_display_()
    assert len(shown) == 2 and shown[0] == shown[1]
    assert shown[0]["text/plain"] == fig.alt_text and shown[0]["text/html"].startswith("<img ")


def test_a_cell_that_ends_in_a_figure_stores_one_output_with_alt_text() -> None:
    """What nbclient stores is what the static page shows."""
    nbclient = pytest.importorskip("nbclient", reason="the site extra is not installed")
    cell = nbformat.v4.new_code_cell(
        "from tinyvlm.viz import training_curves\ntraining_curves({'contrastive': [4.0, 0.5]})"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    patient = {"timeout": 600, "startup_timeout": 600, "iopub_timeout": 60}  # a busy machine is no failure
    nbclient.NotebookClient(notebook, kernel_name="python3", **patient).execute()
    (output,) = notebook.cells[0].outputs
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert "contrastive from 4 to 0.5" in output["data"]["text/html"]


def test_any_matplotlib_figure_can_be_described_and_shown() -> None:
    plain = PlainFigure(figsize=(2, 2))
    with pytest.raises(ValueError, match="has no alt text"):
        show(plain)
    with pytest.raises(ValueError, match="alt text is empty"):
        describe(plain, " ")
    assert 'alt="Nothing yet."' in to_html(describe(plain, "Nothing\n  yet."))


def test_settings_of_the_reader_are_untouched_and_do_not_shine_through() -> None:
    plain = drawn().png()
    with mpl.rc_context({"axes.facecolor": "black", "lines.linewidth": 12, "font.size": 30}):
        before = dict(mpl.rcParams)
        assert drawn().png() == plain
        assert dict(mpl.rcParams) == before


def test_axes_made_by_hand_have_the_style_too() -> None:
    from matplotlib.colors import to_hex

    with mpl.rc_context({"axes.facecolor": "black"}):
        axes = Figure(2, 2).subplots()
    assert to_hex(axes.get_facecolor()) == module.PAPER
    assert to_hex(axes.plot([1, 2])[0].get_color()) == module.SERIES[0]


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys; from tinyvlm.viz import training_curves; training_curves({'a': [1.0, 2.0]}).png(); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_hangul_without_a_font_is_boxes_and_not_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KOREAN", ())
    module._families.cache_clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fig = Figure(2, 1)
            fig.text(0.1, 0.5, "고양이")
            assert fig.png()[:4] == b"\x89PNG"
    finally:
        module._families.cache_clear()


def test_hangul_is_drawn_where_a_font_is_installed() -> None:
    if len(module._families()) == 1:
        pytest.skip("no Korean font on this machine: make deps installs one")
    pictures = []
    for text in ("고양이", "강아지"):
        fig = Figure(2, 1)
        with style():
            fig.text(0.1, 0.5, text, fontsize=30)
        pictures.append(fig.png())
    assert pictures[0] != pictures[1]  # two words of three boxes would be the same picture


def test_style_names_only_fonts_that_are_there() -> None:
    from matplotlib import font_manager

    present = {font.name for font in font_manager.fontManager.ttflist}
    with style():
        assert set(mpl.rcParams["font.family"]) <= present


def test_lists_in_alt_text_stay_short() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(i) for i in range(12)], 3) == "0, 1, 2 and 9 more"

"""Running a chapter: outputs and receipt change together after a complete run, and not otherwise."""

import json

import nbformat
import pytest

from coursekit.runner import RunError, _tidied, execute, run_chapter

NOTEBOOK, RECEIPT = "notebooks/week03_clip.ipynb", "notebooks/receipts/week03.json"


def put(repo, notebook):
    nbformat.write(notebook, repo / NOTEBOOK)
    return (repo / NOTEBOOK).read_bytes()


def test_a_complete_run_writes_outputs_and_receipt(repo, course, progress, notebook_of):
    put(repo, notebook_of("import os\nprint('first')\nprint(os.environ['TINYVLM_SIZE'])"))
    outcome = run_chapter(repo, course.week(3), progress, preset="cpu", size="micro")
    notebook = nbformat.read(repo / NOTEBOOK, as_version=4)
    assert notebook.cells[2].outputs[0].text == "first\nmicro\n" and notebook.cells[2].execution_count == 2
    assert json.loads((repo / RECEIPT).read_text())["preset"] == "cpu" == outcome.receipt["preset"]
    assert progress.begun == ["1/3 setup", "2/3 cell-1", "3/3 receipt"] and "micro" in progress.lines
    assert notebook.metadata.language_info == {"name": "python"} and "widgets" not in notebook.metadata
    assert {path.name for path in (repo / "notebooks").iterdir()} == {"week03_clip.ipynb", "receipts"}


OFFER = """import os, pathlib
folder = pathlib.Path(os.environ["TINYVLM_ZOO"], "clip-test")
folder.mkdir(parents=True)
(folder / "model.safetensors").write_bytes(b"weights")"""


def test_offered_weights_are_kept_by_a_complete_run_only(repo, course, progress, notebook_of):
    kept = repo / "src/tinyvlm/zoo/weights/clip-test/model.safetensors"
    put(repo, notebook_of(OFFER))
    run_chapter(repo, course.week(3), progress, preset="smoke")
    assert not kept.exists()
    put(repo, notebook_of(OFFER, "raise KeyError('lost')"))
    with pytest.raises(RunError):
        run_chapter(repo, course.week(3), progress, preset="cpu")
    assert not kept.exists()
    put(repo, notebook_of(OFFER))
    run_chapter(repo, course.week(3), progress, preset="cpu")
    assert kept.read_bytes() == b"weights"


def test_a_failing_cell_is_named_and_leaves_both_files(repo, course, progress, notebook_of):
    put(repo, notebook_of("print(1)"))
    run_chapter(repo, course.week(3), progress, preset="cpu")
    receipt = (repo / RECEIPT).read_bytes()
    before = put(repo, notebook_of("print(2)", "raise KeyError('lost')"))
    with pytest.raises(RunError, match=r"cell 'cell-2' failed with KeyError: 'lost'\. Notebook and receipt"):
        run_chapter(repo, course.week(3), progress, preset="cpu")
    assert (repo / NOTEBOOK).read_bytes() == before and (repo / RECEIPT).read_bytes() == receipt


def test_a_run_without_a_receipt_keeps_nothing(repo, course, progress, notebook_of):
    before = put(repo, notebook_of("print(1)", receipt=None))
    with pytest.raises(RunError, match="wrote no receipt, so nothing was kept"):
        run_chapter(repo, course.week(3), progress, preset="cpu")
    assert (repo / NOTEBOOK).read_bytes() == before and not (repo / RECEIPT).exists()


def test_a_smoke_run_is_a_trial(repo, course, progress):
    before = (repo / NOTEBOOK).read_bytes()
    outcome = run_chapter(repo, course.week(3), progress, preset="smoke")
    assert outcome.receipt["preset"] == "smoke"
    assert (repo / NOTEBOOK).read_bytes() == before and not (repo / RECEIPT).exists()


def test_a_full_disk_leaves_both_files(repo, course, progress, monkeypatch):
    import coursekit.runner as runner

    before, write = (repo / NOTEBOOK).read_bytes(), runner.write_text

    def full(path, text):
        if path.suffix == ".json":
            raise OSError(f"{path} was not written (No space left on device): free space or make it writable.")
        write(path, text)

    monkeypatch.setattr(runner, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        run_chapter(repo, course.week(3), progress, preset="cpu")
    assert (repo / NOTEBOOK).read_bytes() == before and not (repo / RECEIPT).exists()


def test_a_killed_kernel_is_told(repo, course, progress, notebook_of):
    before = put(repo, notebook_of("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    with pytest.raises(RunError, match="the kernel died in cell 'cell-1'"):
        run_chapter(repo, course.week(3), progress, preset="cpu")
    assert (repo / NOTEBOOK).read_bytes() == before


def test_a_cell_that_hangs_is_stopped(repo, course, progress, notebook_of, monkeypatch):
    monkeypatch.setitem(execute.__globals__["CELL_TIMEOUT"], "smoke", 1)
    put(repo, notebook_of("import time\ntime.sleep(60)"))
    with pytest.raises(RunError, match="cell 'cell-1' was stopped after 1 s"):
        execute(repo, course.week(3), progress, preset="smoke")


def test_overwritten_progress_lines_are_stored_once(repo, course, progress, notebook_of):
    put(repo, notebook_of("for i in range(3):\n    print(f'\\rstep {i}', end='', flush=True)\nprint('\\ndone')"))
    outcome = run_chapter(repo, course.week(3), progress, preset="cpu")
    assert json.loads(outcome.notebook)["cells"][2]["outputs"][0]["text"] == ["step 2\n", "done\n"]


def test_what_cannot_be_run(repo, course, progress):
    with pytest.raises(ValueError, match="Week 2 has no chapter to run yet"):
        run_chapter(repo, course.week(2), progress)
    (repo / NOTEBOOK).unlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        run_chapter(repo, course.week(3), progress)


def test_highlighted_source_is_stored_once_with_one_style_sheet():
    def shown(text: str) -> nbformat.NotebookNode:
        html = f"<style>p {{}}\n.output_html .k {{ color: #080 }}</style>\n<p>{text}</p>"
        data = {"text/html": html, "text/latex": text, "text/plain": text}
        return nbformat.v4.new_output("display_data", data=data)

    plain = nbformat.v4.new_output(
        "display_data", data={"text/html": '<style>q {}</style><span class="n">q</span>', "text/plain": "q"}
    )
    code = '<span class="k">def</span> <span class="n">f</span><span class="p">()</span>'
    cell = nbformat.v4.new_code_cell("x", outputs=[shown("one"), plain, shown(code)])
    stored = nbformat.reads(_tidied(nbformat.v4.new_notebook(cells=[cell])), 4).cells[0].outputs
    assert [output.data["text/html"] for output in stored] == [
        "<style>p {}\n.output_html .k { color: #080 }</style>\n<p>one</p>",
        '<style>q {}</style><span class="n">q</span>',
        '<p><span class="k">def</span> f()</p>',
    ]
    assert [list(output.data) for output in stored] == [["text/html"], ["text/html", "text/plain"], ["text/html"]]

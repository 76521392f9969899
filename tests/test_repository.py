"""Rules of the house that no single module can hold: layering, sizes, one attention, what an import costs."""

import ast
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
SOURCES = sorted(SRC.rglob("*.py"))

# A floor imports only floors below it (and itself). Modules at the root of the package serve all floors.
FLOORS = {
    "experiments": 6,
    "training": 5,
    "models": 4,
    "encoders": 3,
    "generation": 3,
    "objectives": 2,
    "layers": 1,
}
# Beside the floors: these know no model, so they import none of the floors.
BESIDE = {"data", "metrics", "viz", "interop"}
# The zoo hands out trained models, so it stands beside training, above the models.
FLOORS["zoo"] = 5


def tracked() -> list[Path]:
    """Files under version control, or all but the ignored folders where this is no git checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    ignored = {".venv", "_build", "runs", ".git", "__pycache__"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not ignored & set(path.parts)]


def imports(path: Path) -> set[str]:
    """Full dotted names of the modules and names a file imports, also inside functions."""
    package = list(path.relative_to(SRC).with_suffix("").parts)[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def floor(name: str) -> str | None:
    """The folder of tinyvlm that a dotted name lies in, None outside of tinyvlm's folders."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "tinyvlm" and (SRC / "tinyvlm" / parts[1]).is_dir() else None


def test_there_are_sources_and_every_folder_has_its_place() -> None:
    assert len(SOURCES) > 20
    folders = {path.name for path in (SRC / "tinyvlm").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= set(FLOORS) | BESIDE


def statement_lines(path: Path) -> int:
    """Physical lines without those that go on with a bracketed expression, so that wrapped data costs one line."""
    opened: list[int] = []
    within: set[int] = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.OP and token.string in "([{":
                opened.append(token.start[0])
            elif token.type == tokenize.OP and token.string in ")]}":
                within |= set(range(opened.pop() + 1, token.start[0] + 1))
    return len(path.read_text(encoding="utf-8").splitlines()) - len(within)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SRC)))
def test_no_source_has_more_than_300_lines(path: Path) -> None:
    assert statement_lines(path) <= 300


def test_wrapped_data_counts_as_one_line_and_statements_count_each(tmp_path: Path) -> None:
    file = tmp_path / "data.py"
    file.write_text('"""Two\nlines."""\nx = f(\n    [1,\n    2],\n)\n\ndef g(\n    a,\n):\n    # why\n    return (a)\n')
    assert statement_lines(file) == 7


def test_the_formatter_lays_out_every_source() -> None:
    skipped = re.compile("# fmt: " + "(skip|off)")
    names = [path.relative_to(SRC).as_posix() for path in SOURCES if skipped.search(path.read_text(encoding="utf-8"))]
    assert names == []


def test_attention_is_computed_in_one_file() -> None:
    pattern = re.compile(r"scaled_dot_product_attention|MultiheadAttention")
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | imports(path)
        if any(pattern.search(name) for name in names):
            found.append(str(path.relative_to(SRC)))
    assert found == ["tinyvlm/layers/attention.py"]


def test_a_floor_imports_only_floors_below() -> None:
    wrong = []
    for path in (SRC / "tinyvlm").rglob("*.py"):
        own = path.relative_to(SRC / "tinyvlm").parts[0]
        for name in imports(path):
            other = floor(name)
            if other is None or other == own:
                continue
            if own in BESIDE:
                # data, metrics and interop stand alone; viz draws what the metrics define. What a changed caption is
                # called is written down once, beside the changes, and the table of metrics prints it.
                labels = own == "metrics" and name == "tinyvlm.data.changes.LABELS"
                allowed = labels or (own == "viz" and other in {"metrics", "data"})
            elif own in FLOORS:
                allowed = other in BESIDE or FLOORS[other] < FLOORS[own]
            else:
                allowed = True  # a module at the root of the package: its own imports are checked by what it costs
            if not allowed:
                wrong.append(f"{path.relative_to(SRC)} imports {name}")
    assert not wrong


def test_tinyvlm_never_imports_coursekit() -> None:
    assert [str(path) for path in (SRC / "tinyvlm").rglob("*.py") if any("coursekit" in n for n in imports(path))] == []


def test_layering_test_would_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of imports sees relative, nested and plain forms."""
    monkeypatch.setattr(sys.modules[__name__], "SRC", tmp_path)
    file = tmp_path / "tinyvlm" / "layers" / "bad.py"
    (tmp_path / "tinyvlm" / "models").mkdir(parents=True)
    file.parent.mkdir()
    file.write_text("import tinyvlm.models.clip\ndef f():\n    from ..models import vit\n    from . import norm\n")
    assert imports(file) == {"tinyvlm.models.clip", "tinyvlm.models.vit", "tinyvlm.layers.norm"}
    assert floor("tinyvlm.models.vit") == "models" and floor("torch.nn") is None


LIGHT = ("import tinyvlm", "from tinyvlm.models.clip import CLIP", "from tinyvlm.data import World")


@pytest.mark.parametrize("statement", LIGHT)
def test_light_imports_load_no_heavy_library(statement: str) -> None:
    heavy = ("transformers", "datasets", "matplotlib", "accelerate", "torchvision", "open_clip")
    code = f"{statement}\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"


@pytest.mark.alone
@pytest.mark.parametrize("statement", LIGHT)
def test_importing_costs_at_most_a_second_beyond_torch(statement: str) -> None:
    code = f"import time, torch\nstart = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert statistics.median(seconds) <= 1.0


def test_core_installs_without_the_site_and_leaves_torch_alone() -> None:
    """What a Colab installation asks for: no Sphinx, no test tools, and a torch range that its own satisfies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.split(r"[\[<>=!~; ]", line)[0].lower(): line for line in project["dependencies"]}
    assert set(project["optional-dependencies"]) == {"hub", "site", "test", "bench"}
    elsewhere = {"jupyter-book", "sphinx", "pytest", "transformers", "datasets", "torchvision", "open_clip_torch"}
    assert not elsewhere & set(core)
    assert all("==" not in line and "<" not in line for line in core.values())
    assert re.fullmatch(r"torch>=2\.\d", core["torch"])
    assert project["requires-python"] == ">=3.11"


def test_core_pulls_no_sphinx_however_indirectly() -> None:
    """Follows the installed packages' own requirements from the core's, extras left out."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    seen: set[str] = set()
    waiting = ["tinyvlm"]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # wanted on another platform only
            continue
        needed = [Requirement(line) for line in lines]
        waiting += [
            canonicalize_name(item.name) for item in needed if not item.marker or item.marker.evaluate({"extra": ""})
        ]
    assert {"torch", "tokenizers", "numpy", "fsspec"} <= seen  # the walk reached the core, and what that needs
    assert not {"sphinx", "jupyter-book", "pytest", "transformers", "datasets", "torchvision", "ipykernel"} & seen


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of what an installation from the repository sees: building in place would leave folders behind."""
    copy = tmp_path_factory.mktemp("package")
    for path in tracked():
        name = path.relative_to(ROOT)
        core = name.parts[0] in {"src", "pyproject.toml", "setup.py", "README.md", "LICENSE", "THIRD_PARTY.md"}
        if core or name.parts[:2] == ("notebooks", "receipts"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy / name)
    return copy


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")


@pytest.fixture(scope="module")
def wheel(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [*PIP, "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(package)]
    subprocess.run(build, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """`pip install git+...` in Colab is not editable: data left out of the wheel would be missed there first."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    sources = [path.relative_to(SRC).as_posix() for path in tracked() if SRC in path.parents]
    assert len(sources) > 20
    assert [name for name in sources if name not in inside and not name.endswith(".gitattributes")] == []
    kept = ROOT / "notebooks" / "receipts"
    receipts = [path.relative_to(kept).as_posix() for path in tracked() if kept in path.parents]
    assert len(receipts) >= 10 and {f"tinyvlm/evidence/{name}" for name in receipts} <= inside
    assert wheel.stat().st_size < 25 * 2**20  # seconds in Colab


@pytest.mark.slow
def test_a_chapter_shows_its_claims_wherever_it_is_opened(wheel: Path, tmp_path: Path) -> None:
    """As in Colab: the installed wheel, a notebook in a folder of its own, and no checkout in sight."""
    site, folder = tmp_path / "site", tmp_path / "elsewhere"
    subprocess.run([*PIP, "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel)], check=True)
    folder.mkdir()
    notebook = shutil.copy(ROOT / "notebooks/week01_metrics.ipynb", folder / "mine.ipynb")
    code = (
        "import json, sys, nbformat\nfrom nbclient import NotebookClient\n"
        "book = nbformat.read(sys.argv[1], 4)\nNotebookClient(book, timeout=300, kernel_name='python3').execute()\n"
        "print(json.dumps([cell for cell in book.cells if cell.cell_type == 'code']))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    environment |= {"PYTHONPATH": str(site), "TINYVLM_PRESET": "smoke", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(notebook)]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    cells = {cell["id"]: json.dumps(cell["outputs"]) for cell in json.loads(ran.stdout.splitlines()[-1])}
    assert "held" in cells["claims"] and "not loaded" not in cells["claims"]
    where = "import tinyvlm, tinyvlm.evidence as e; print(tinyvlm.__file__, e.folder())"
    told = subprocess.run([sys.executable, "-c", where], cwd=folder, env=environment, capture_output=True, text=True)
    assert all(place.startswith(str(site)) for place in told.stdout.split())


@pytest.mark.slow
def test_installing_the_core_beside_a_torch_changes_nothing_else(package: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    install = [*PIP, "install", "-q", "--dry-run", "--no-build-isolation", "--no-index", "--report", str(report)]
    subprocess.run([*install, str(package)], check=True, capture_output=True)
    assert [item["metadata"]["name"] for item in json.loads(report.read_text())["install"]] == ["tinyvlm"]


def test_pins_are_exact_complete_and_begin_with_torch() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "torch==2.13.0"
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+(\[\w+\])?==[0-9][0-9A-Za-z.]*", line)] == []

    def plain(line: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", line)[0]).lower()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {plain(line) for line in lines}
    wanted = [
        *project["dependencies"],
        *(line for e in ("hub", "site", "test") for line in project["optional-dependencies"][e]),
    ]
    assert [line for line in wanted if plain(line) not in pinned] == []
    assert len(pinned) == len(lines)


def test_no_machine_paths_or_registry_hosts_are_committed() -> None:
    # Put together from parts, so that this file does not find itself.
    hosts = "|".join(
        (r"pypi\." + "org", r"files\.python" + "hosted", r"registry\." + "npmjs", r"download\.pytorch\." + "org")
    )
    paths = "|".join(("/wo" + r"rk/\w", "/ro" + r"ot/\w", "/ho" + r"me/\w", "/Us" + r"ers/\w", "/tm" + r"p/\w"))
    pattern = re.compile(f"{hosts}|{paths}")
    found = []
    for path in tracked():
        # Vendored licences and binary files say nothing about a machine.
        if path.suffix in {".png", ".webp", ".safetensors", ".gz", ".npz", ".woff2", ".ico"} or path.name == "LICENSE":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert found == []


def test_notebooks_stay_below_400_kib() -> None:
    assert [str(path) for path in tracked() if path.suffix == ".ipynb" and path.stat().st_size > 400 * 1024] == []


def test_zoo_stays_below_15_mib() -> None:
    assert sum(path.stat().st_size for path in tracked() if path.suffix == ".safetensors") <= 15 * 2**20


@pytest.mark.parametrize(
    "target", ["setup", "deps", "site", "serve", "test", "quick", "week", "claims", "assets", "format"]
)
def test_readme_and_help_know_every_target(target: str) -> None:
    assert re.search(rf"^{target}: .*## ", (ROOT / "Makefile").read_text(), re.M)
    assert f"make {target}" in (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize(("arguments", "message"), [((), "N is ''"), (("N=15",), "N is '15'"), (("N=x",), "N is 'x'")])
def test_make_week_asks_for_a_week(arguments: tuple[str, ...], message: str) -> None:
    ran = subprocess.run(["make", "-s", "week", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode != 0
    assert message in ran.stderr and "name a week from 1 to 14" in ran.stderr


def test_too_old_a_python_is_named_before_anything_is_installed(tmp_path: Path) -> None:
    """A clone without .venv, on a machine whose only python is 3.9."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        old = '#!/bin/sh\ncase "$2" in *version_info*) exit 1;; *python_version*) echo 3.9.2;; esac\nexit 0\n'
        (tools / name).write_text(old)
        (tools / name).chmod(0o755)
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        (clone / name).write_text((ROOT / name).read_text())
    ran = subprocess.run(
        ["make", "setup"], cwd=clone, capture_output=True, text=True, env={"PATH": f"{tools}:/usr/bin:/bin"}
    )
    assert ran.returncode != 0
    assert "Python 3.11 or newer is needed (python3 is 3.9.2)" in ran.stderr
    assert not (clone / ".venv").exists()


REPORT = '<testsuites><testsuite tests="{tests}" skipped="{skipped}" failures="{failures}" errors="0"/></testsuites>'


@pytest.mark.parametrize(
    ("suites", "ci", "code"),
    [
        ({}, "true", 1),
        ({"unit": (3, 1, 0)}, "true", 0),
        ({"unit": (3, 3, 0)}, "true", 1),
        ({"unit": (3, 0, 1)}, "true", 1),
        ({"unit": (3, 0, 0), "notebooks": (0, 0, 0)}, "", 1),
        ({"unit": (3, 0, 0), "browser": (2, 2, 0)}, "true", 1),
        ({"unit": (3, 0, 0), "browser": (2, 2, 0)}, "", 0),
    ],
)
def test_a_run_without_tests_is_not_green(
    tmp_path: Path, suites: dict[str, tuple[int, int, int]], ci: str, code: int
) -> None:
    for name, (tests, skipped, failures) in suites.items():
        report = REPORT.format(tests=tests, skipped=skipped, failures=failures)
        (tmp_path / f"{name}.xml").write_text(report)
    ran = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "count.py"), str(tmp_path)], capture_output=True, text=True, env={"CI": ci}
    )
    assert ran.returncode == code, ran.stderr


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_relative_links_of_the_documents_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []

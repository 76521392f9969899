"""Mistakes in course.yml: file, line and key in the message, all of them at once, and nothing else happens."""

import re
from pathlib import Path

import pytest

from coursekit.load import CourseError, find_root, load_course, parse_course

TEXT = (Path(__file__).parents[2] / "course.yml").read_text(encoding="utf-8")


def line_of(text: str, words: str, nth: int = 1) -> int:
    found = [number for number, line in enumerate(text.splitlines(), 1) if words in line]
    return found[nth - 1]


@pytest.mark.parametrize(("old", "new", "where", "message"), [
    ("    short: CLIP\n", "    shrt: CLIP\n", "shrt: CLIP", "weeks[2].shrt: unknown key"),
    ("group:\n", "groups:\n", "groups:", "groups: unknown key"),
    ("  season: 3\n", "  season: three\n", "season: three", "group.season: "),
    ("https://youtu.be/BoDFT85-Z8U", "https://youtu.be/BoDFT85-Z8U?si=x", "BoDFT85-Z8U?si", "weeks[2].talks[0].url"),
    ("https://youtu.be/BoDFT85-Z8U", "https://youtu.be/short", "be/short", "is not a talk"),
    ("https://youtu.be/BoDFT85-Z8U", "youtu.be/BoDFT85-Z8U", '"youtu.be', "is not a link"),
    ('"2103.00020"', '"2103.20"', '"2103.20"', "weeks[2].paper.arxiv"),
    ("date: 2023-03-18", "date: 2023-02-30", "2023-02-30", "weeks[2].date"),
    ("date: 2023-03-18", "date: 2023-03-11", "date: 2023-03-11", "is not after"),
    ("repository: https://github.com/your-group/vlm-course", "repository: https://example.org/x", "example.org/x",
     "is not a repository"),
    ("branch: main\n", "branch: main\nbranch: other\n", "branch: other", "branch: this key is written twice"),
    ("notebooks/week03_clip.ipynb", "notebooks/clip.ipynb", "notebooks/clip.ipynb", "is not a chapter's path"),
    ("minutes: 75\n    notebook: notebooks", "minutes: 1\n    notebook: notebooks", "minutes: 1\n", "weeks[2].minutes"),
    ("박민지, publish: true", "박민지, publish: perhaps", "publish: perhaps", "weeks[5].speaker.publish"),
])  # fmt: skip
def test_a_mistake_is_reported_with_its_line_and_key(old, new, where, message):
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    with pytest.raises(CourseError) as error:
        parse_course(text)
    line = line_of(text, where.strip(), 2 if where == "date: 2023-03-11" else 1)
    assert any(told.startswith(f"course.yml:{line}: ") and message in told for told in str(error.value).splitlines())


def test_a_missing_week_is_named():
    text = TEXT.replace("  - week: 5\n", "  - week: 15\n")
    with pytest.raises(CourseError, match=r"weeks: week 5 missing") as error:
        parse_course(text)
    assert f"course.yml:{line_of(text, 'weeks:', 2)}: " in str(error.value)
    assert "week 15 is beyond" in str(error.value)


def test_a_week_written_twice_is_reported_where_it_stands():
    text = TEXT.replace("  - week: 6\n", "  - week: 5\n")
    with pytest.raises(CourseError) as error:
        parse_course(text)
    assert f"course.yml:{line_of(text, 'week: 5', 2)}: weeks[5].week: week 5 is written twice" in str(error.value)


def test_two_weeks_with_one_notebook():
    text = re.sub("    notebook: .*\n", "    notebook: notebooks/week03_clip.ipynb\n", TEXT, count=1)  # week 1's
    with pytest.raises(CourseError) as error:
        parse_course(text)
    line = line_of(text, "week03_clip.ipynb", 2)
    assert f"course.yml:{line}: weeks[2].notebook: notebooks/week03_clip.ipynb is also week 1's" in str(error.value)


def test_all_mistakes_are_told_at_once():
    text = TEXT.replace("short: CLIP", "shrt: CLIP").replace('"2010.11929"', '"x"')
    with pytest.raises(CourseError) as error:
        parse_course(text)
    lines = str(error.value).splitlines()
    assert len(lines) == 3 and lines == sorted(lines, key=lambda line: int(line.split(":")[1]))


@pytest.mark.parametrize("text", ["weeks: [", "- 1\n- 2\n", "", "just words"])
def test_what_is_no_mapping_is_told_with_a_line(text):
    with pytest.raises(CourseError, match=r"^course\.yml:\d+: "):
        parse_course(text)


def test_environment_overrides_the_repository(repo, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/fork")
    assert load_course(repo).repository == "https://github.com/somebody/fork"
    monkeypatch.setenv("COURSE_REPOSITORY", "https://github.com/other/name.git")
    course = load_course(repo)
    assert course.slug == "other/name" and course.issues == "https://github.com/other/name/issues"
    assert course.colab(course.week(3)).startswith("https://colab.research.google.com/github/other/name/blob/main/")


def test_wrong_repository_in_the_environment_is_told(repo, monkeypatch):
    monkeypatch.setenv("COURSE_REPOSITORY", "not an address")
    with pytest.raises(CourseError, match="COURSE_REPOSITORY"):
        load_course(repo)


def test_root_is_found_from_below_and_missing_root_is_told(repo, tmp_path_factory):
    assert find_root(repo / "notebooks") == repo
    with pytest.raises(FileNotFoundError, match=re.escape("No course.yml in")):
        find_root(tmp_path_factory.mktemp("empty"))

"""The course that is written down: what the syllabus says, and nothing that may not be published."""

import datetime
import re
from pathlib import Path

import pytest

from coursekit.consistency import problems, toc_pages
from coursekit.load import load_course

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def course():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COURSE_REPOSITORY", "GITHUB_REPOSITORY"):
            patch.delenv(name, raising=False)
        return load_course(ROOT)


def test_toc_notebooks_and_course_agree(course):
    assert problems(ROOT, course) == []


def test_every_page_of_the_toc_exists_or_is_generated():
    missing = [page for page in toc_pages(ROOT) if "_generated" not in page
               and not any((ROOT / f"{page}{suffix}").is_file() for suffix in (".md", ".ipynb"))]  # fmt: skip
    assert missing == []


def test_fourteen_saturdays_from_4_march(course):
    first = datetime.date(2023, 3, 4)
    assert [week.date for week in course.weeks] == [first + datetime.timedelta(weeks=i) for i in range(14)]
    assert all(week.date.weekday() == 5 for week in course.weeks)


def test_talks_are_those_of_the_syllabus(course):
    assert {week.week: len(week.public_talks) for week in course.weeks} == {
        **dict.fromkeys(range(1, 15), 1), 1: 2, 6: 0, 13: 0, 14: 0,
    }  # fmt: skip
    assert course.week(3).talks[0].video == "BoDFT85-Z8U"


def test_papers_have_their_arxiv_ids_and_first_months(course):
    # An arXiv id carries the month of the first version; one sent on a month's last days gets the next month's.
    for week in course.weeks:
        source = week.paper or week.reading
        posted = datetime.date.fromisoformat(f"{source.posted}-01"[:10])
        months = {f"{day:%y%m}" for day in (posted, posted + datetime.timedelta(days=4))}
        assert source.arxiv[:4] in months, week.week
    assert course.week(3).paper.arxiv == "2103.00020" and course.week(13).paper.arxiv == "2209.06794"
    assert [week.week for week in course.weeks if week.paper is None] == [1, 14]


def test_names_stand_as_written(course):
    names = "강재욱 이인규 김희은 신성호 이유경 박민지 김강민 백혜림 정윤성 김승우 조성국 김기범 이영수 강재욱"
    assert [week.speaker_name for week in course.weeks] == names.split()
    assert course.week(1).title == "VLM 관련 벤치마크와 메트릭 소개" and course.week(14).title == "전체 흐름 재정리"


def test_nothing_private_or_tracking():
    text = (ROOT / "course.yml").read_text(encoding="utf-8")
    assert not re.search(r"forms\.gle|docs\.google|spreadsheet|zoom\.us|meet\.google|[?&](si|utm_\w+|feature|t)=", text)


def test_unpublished_names_and_talks_are_nowhere(repo):
    path = repo / "course.yml"
    text = path.read_text(encoding="utf-8").replace("{name: 김희은, publish: true}", "{name: 김희은, publish: false}")
    path.write_text(text.replace('BoDFT85-Z8U", publish: true', 'BoDFT85-Z8U", publish: false'), encoding="utf-8")
    from coursekit.html import render
    from coursekit.sphinx_ext.directives import people

    course = load_course(repo)
    week = course.week(3)
    assert week.speaker_name is None and week.public_talks == ()
    assert "김희은" not in people(course)
    for html in (
        render("syllabus", course=course, link=str),
        render("header", week=week, proof=None, colab=course.colab(week), source="x"),
    ):
        assert "김희은" not in html and "BoDFT85-Z8U" not in html


def test_unknown_week_names_those_there_are(course):
    with pytest.raises(ValueError, match="There is no week 15: the course has weeks 1 to 14"):
        course.week(15)


def test_a_week_without_a_notebook_has_nothing_to_open(course):
    with pytest.raises(ValueError, match="no notebook yet"):
        course.colab(course.week(2).model_copy(update={"notebook": None}))

"""The shape of `course.yml`. Reading it, with line numbers in every message, is `coursekit.load`."""

from __future__ import annotations

import datetime
import os
import re
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")
_REPOSITORY = re.compile(r"https://github\.com/[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]+")
# What a link may carry: a playlist id. Everything else on the hosts that we link to only tells who sent the reader.
_QUERY_KEYS = {"list"}


def _link(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or "." not in parts.netloc or " " in url:
        raise ValueError(f"{url!r} is not a link: write https://host/path")
    extra = {key for key, _ in parse_qsl(parts.query, keep_blank_values=True)} - _QUERY_KEYS
    if extra or parts.fragment:
        raise ValueError(f"{url!r} carries {', '.join(sorted(extra)) or 'a fragment'}: keep only what finds the page")
    return url


def _talk(url: str) -> str:
    parts = urlsplit(_link(url))
    if parts.netloc != "youtu.be" or not _VIDEO.fullmatch(parts.path.removeprefix("/")) or parts.query:
        raise ValueError(f"{url!r} is not a talk: write https://youtu.be/ and the video's 11 characters, nothing after")
    return url


def check_repository(url: str) -> str:
    """`https://github.com/OWNER/NAME`, or ValueError. Colab opens notebooks from GitHub only, hence the one host."""
    url = url.removesuffix("/").removesuffix(".git")
    if not _REPOSITORY.fullmatch(url):
        raise ValueError(f"{url!r} is not a repository: write https://github.com/OWNER/NAME")
    return url


def check_branch(name: str) -> str:
    """The name of a branch, or ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)*", name):
        raise ValueError(f"{name!r} is not a branch: write letters, digits and ._-/ as in main or season-4")
    return name


def _notebook(path: str) -> str:
    if not re.fullmatch(r"notebooks/week\d\d_[a-z0-9_]+\.ipynb", path):
        raise ValueError(f"{path!r} is not a chapter's path: write notebooks/weekNN_name.ipynb or null")
    return path


def _as_text(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime.date) else value  # YAML reads 2021-02-26 as a date already


Link = Annotated[str, AfterValidator(_link)]
TalkLink = Annotated[str, AfterValidator(_talk)]
Repository = Annotated[str, AfterValidator(check_repository)]
Branch = Annotated[str, AfterValidator(check_branch)]
NotebookPath = Annotated[str, AfterValidator(_notebook)]
ArxivId = Annotated[str, Field(pattern=r"^\d{4}\.\d{4,5}$")]
PostedDate = Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])(-([0-2]\d|3[01]))?$")]
Text = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """An unknown key is a mistake, not an extension."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Book(Strict):
    title: Text
    short: Text
    description: Text


class NamedLink(Strict):
    title: Text
    url: Link


class Group(Strict):
    name: Text
    season: Annotated[int, Field(ge=1)]
    subject: Text
    weeks: Annotated[int, Field(ge=1, le=99)]
    links: tuple[NamedLink, ...] = ()


class Paper(Strict):
    """The week's paper: `posted` is the day (or month) of its first arXiv version."""

    arxiv: ArxivId
    posted: PostedDate
    affiliation: Text

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"


class Reading(Strict):
    """Background for a week without a paper of its own."""

    title: Text
    arxiv: ArxivId
    posted: PostedDate

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"


class Speaker(Strict):
    name: Text
    publish: bool


class Talk(Strict):
    url: TalkLink
    publish: bool

    @property
    def video(self) -> str:
        """The 11 characters that name the video."""
        return self.url.rsplit("/", 1)[1]


class Week(Strict):
    week: Annotated[int, Field(ge=1, le=99)]
    type: Text
    title: Text
    short: Text
    date: datetime.date
    paper: Paper | None = None
    reading: Reading | None = None
    speaker: Speaker
    talks: tuple[Talk, ...] = ()
    slides: Link | None = None
    minutes: Annotated[int, Field(ge=10, le=240)]
    notebook: NotebookPath | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Week:
        if (self.paper is None) == (self.reading is None):
            raise ValueError("a week has either a paper or a background reading: write exactly one of the two")
        if self.notebook and not PurePosixPath(self.notebook).name.startswith(f"week{self.week:02d}_"):
            raise ValueError(f"{self.notebook} belongs to another week: its name must start with week{self.week:02d}_")
        return self

    @property
    def page(self) -> str:
        """Document name of the week's page, without suffix: the chapter, or a generated page while there is none."""
        return self.notebook.removesuffix(".ipynb") if self.notebook else f"book/_generated/week{self.week:02d}"

    @property
    def heading(self) -> str:
        return f"Week {self.week} · {self.short}"

    @property
    def speaker_name(self) -> str | None:
        return self.speaker.name if self.speaker.publish else None

    @property
    def public_talks(self) -> tuple[Talk, ...]:
        return tuple(talk for talk in self.talks if talk.publish)

    @property
    def receipt(self) -> str:
        """Where a complete run of the chapter leaves its receipt, relative to the repository root."""
        return f"notebooks/receipts/week{self.week:02d}.json"


class Course(Strict):
    book: Book
    group: Group
    repository: Repository
    branch: Branch = "main"
    weeks: tuple[Week, ...]

    def week(self, number: int) -> Week:
        """One week by its number. ValueError names the weeks there are."""
        for week in self.weeks:
            if week.week == number:
                return week
        raise ValueError(f"There is no week {number}: the course has weeks 1 to {len(self.weeks)}.")

    @property
    def issues(self) -> str:
        """Where to ask for a name or a talk to be taken down."""
        return f"{self.repository}/issues"

    @property
    def slug(self) -> str:
        """OWNER/NAME on GitHub."""
        return self.repository.removeprefix("https://github.com/")

    def colab(self, week: Week) -> str:
        """Address that opens the week's notebook in Colab; ValueError for a week without one."""
        if week.notebook is None:
            raise ValueError(f"Week {week.week} has no notebook yet, so there is nothing to open in Colab.")
        return f"https://colab.research.google.com/github/{self.slug}/blob/{self.branch}/{week.notebook}"


def repository_from_environment() -> str | None:
    """COURSE_REPOSITORY, else the repository that GitHub Actions runs in, else None."""
    if url := os.environ.get("COURSE_REPOSITORY"):
        return url
    if slug := os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{slug}"
    return None

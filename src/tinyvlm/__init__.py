"""tinyvlm: the shared core of the course. Light to import: torch and nothing that draws or downloads."""

__version__ = "0.1.0"


def require(version: str, week: int | None = None) -> None:
    """Refuse a core that a notebook was not written for: `require("0.1")` accepts 0.1.x.

    With `week`, the installed core is also compared with the one that made the outputs stored in that week's notebook.
    Where they differ, one sentence is printed that says in what, and how to install exactly that core.
    Raises ImportError with one sentence that says what is installed and what to do.
    """
    wanted = version.split(".")
    if __version__.split(".")[: len(wanted)] != wanted:
        raise ImportError(
            f"this notebook needs tinyvlm {version}.x and {__version__} is installed: install the core from the same "
            "repository and branch as the notebook, then restart the kernel"
        )
    if week is not None:
        from tinyvlm.training.receipts import core_difference

        if told := core_difference(week):
            print(told)

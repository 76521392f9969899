"""tinyvlm: the shared core of the course. Light to import: torch and nothing that draws or downloads."""

__version__ = "0.1.0"


def require(version: str) -> None:
    """Refuse a core that a notebook was not written for: `require("0.1")` accepts 0.1.x.

    Raises ImportError with one sentence that says what is installed and what to do.
    """
    wanted = version.split(".")
    if __version__.split(".")[: len(wanted)] != wanted:
        raise ImportError(
            f"this notebook needs tinyvlm {version}.x and {__version__} is installed: install the core from the same "
            "repository and branch as the notebook, then restart the kernel"
        )

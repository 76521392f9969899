"""The console script `course`: says in one sentence what is missing where only the core is installed, as in Colab."""

import sys


def main() -> None:
    try:
        from coursekit.cli import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("coursekit", "tinyvlm"):
            raise
        sys.exit(f"`course` needs {error.name}, which the core alone does not bring: pip install 'tinyvlm[site]'")
    run()

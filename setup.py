"""What pyproject.toml cannot say: a wheel carries receipts and claim results, so that any notebook can show them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RECEIPTS = Path(__file__).parent / "notebooks" / "receipts"


class BuildWithEvidence(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # a checkout reads them where they are
        target = Path(self.build_lib) / "tinyvlm" / "evidence"
        for path in sorted(RECEIPTS.rglob("*.json")):
            if not any(part.startswith(".") for part in path.relative_to(RECEIPTS).parts):
                copy = target / path.relative_to(RECEIPTS)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


setup(cmdclass={"build_py": BuildWithEvidence})

"""The toy beside these tests is imported by name, by them and by the processes that they start."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

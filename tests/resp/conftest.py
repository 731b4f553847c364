"""The tests of the Redis protocol stand on the same fake backend as those of HTTP."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "http"))

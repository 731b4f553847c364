"""A part of a file that a command writes anew: what stands between two marks, each a line of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Marks(NamedTuple):
    """Where it begins and ends."""

    begin: str
    end: str

    def stand_in(self, path: Path) -> bool:
        """Whether the file has both, in this order. Raises OSError."""
        text = path.read_text()
        return 0 <= text.find(self.begin) < text.find(self.end)

    def put(self, path: Path, text: str) -> None:
        """Replace what stands between them."""
        head, rest = path.read_text().split(self.begin, 1)
        path.write_text(f"{head}{self.begin}\n{text}\n{self.end}{rest.split(self.end, 1)[1]}")


def marks(name: str) -> Marks:
    """Comments in Markdown that carry this name."""
    return Marks(f"<!-- {name}: begin -->", f"<!-- {name}: end -->")

"""A part of a file that is written anew."""

from __future__ import annotations

from pathlib import Path

from jepsen_like.marks import marks

MARKS = marks("table")


def test_only_what_stands_between_the_marks_changes(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{MARKS.begin}\nold\n{MARKS.end}\nafter {MARKS.end}\n")
    assert MARKS.stand_in(path)
    MARKS.put(path, "new\nlines")
    assert path.read_text() == f"before\n{MARKS.begin}\nnew\nlines\n{MARKS.end}\nafter {MARKS.end}\n"


def test_both_marks_must_be_there_in_order(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    for text in ("", MARKS.begin, MARKS.end, f"{MARKS.end}\n{MARKS.begin}"):
        path.write_text(text)
        assert not MARKS.stand_in(path)

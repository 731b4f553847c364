"""`table`: which runs it makes, where it puts its rows, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from jepsen_like.cli import main, table
from jepsen_like.lost.rows import Cell, Row
from jepsen_like.real_plan import planned_faults

MARKED = f"# Title\n{table.MARKS.begin}\nold\n{table.MARKS.end}\nend\n"


class Asked:
    """In place of real processes: every cell has the same answer."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []
        self.complaints: list[str] = []
        self.broken = False
        self.wrong: list[str] = []

    async def ask(
        self, cells: Sequence[Cell], seconds: float, told: Callable[[str], None]
    ) -> tuple[list[Row], list[str]]:
        self.cells += cells
        for cell in cells:
            told(f"{cell.ack}, {cell.nemesis}")
        return [self.row(cell) for cell in cells], self.wrong

    def row(self, cell: Cell) -> Row:
        return Row(
            ack=cell.ack,
            nemesis=cell.nemesis,
            faults=2,
            acknowledged=1000,
            lost=0,
            largest_writes=0,
            largest_ms=0.0,
            longest_gap_ms=900.0,
            complaints=self.complaints,
            broken=self.broken,
        )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr(table, "ask", made.ask)
    return made


def test_every_level_meets_every_nemesis(capsys: pytest.CaptureFixture[str], asked: Asked) -> None:
    assert main.main(["table"]) == 0
    assert len(asked.cells) == len(set(asked.cells)) == 3 * len(table.NEMESES)
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(asked.cells)
    asked.cells.clear()
    assert main.main(["table", "--ack", "quorum", "--ack", "primary", "--nemesis", "kill,slow:leader"]) == 0
    assert asked.cells == [Cell(ack, nemesis) for ack in ("quorum", "primary") for nemesis in ("kill", "slow:leader")]


def test_faults_of_every_row_strike() -> None:
    for nemesis in table.NEMESES:
        plan = table.plan_of(Cell("primary", nemesis), table.SECONDS)
        assert len(planned_faults(plan, ["n0", "n1", "n2"], table.SHARDS)) >= 2


def test_it_goes_between_the_marks_of_a_readme(
    capsys: pytest.CaptureFixture[str], asked: Asked, tmp_path: Path
) -> None:
    path = tmp_path / "README.md"
    path.write_text(MARKED)
    assert main.main(["table", "--ack", "quorum", "--nemesis", "kill", "--readme", str(path)]) == 0
    rows = capsys.readouterr().out.rstrip("\n")
    assert rows.endswith("| `quorum` | `kill` | 2 | 1,000 | 0 | 0 | 0 | 900 |")
    assert path.read_text() == MARKED.replace("old", rows)
    path.write_text("# Title\n")
    asked.cells.clear()
    assert main.main(["table", "--readme", str(path)]) == 2 and not asked.cells
    assert "has no lines" in capsys.readouterr().err


def test_a_broken_promise_is_1_and_no_answer_2(capsys: pytest.CaptureFixture[str], asked: Asked) -> None:
    words = ["table", "--ack", "quorum", "--nemesis", "kill", "-o", "json"]
    asked.complaints = ["set: 3 lost"]
    assert main.main(words) == 2
    asked.broken = True
    assert main.main(words) == 1
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[1])["judgement"] == "fail"
    assert "table: quorum, kill: set: 3 lost" in err
    asked.complaints, asked.broken, asked.wrong = [], False, ["a traceback in n0/log: KeyError"]
    assert main.main(words) == 1

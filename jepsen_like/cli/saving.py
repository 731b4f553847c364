"""What a run leaves on disk: a folder of its own.

    history.jsonl   the header with seed, versions and options, and every event
    report.html     the page
    report.json     the same for programs
    logs/           what the nodes and their supervisor wrote
    cluster/        the nodes' files, where the run did not pass
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from jepsen_like.checking import Judgement, Verdict, worst
from jepsen_like.history import History, encode_history
from jepsen_like.page.page import write_page
from jepsen_like.page.summary import encode_document
from raftcache.supervisor.layout import LOG_FILE

FOLDER = Path("jepsen-runs")
"""Where runs are kept unless another place is named."""
CLUSTER, LOGS = "cluster", "logs"
HISTORY, PAGE, DOCUMENT = "history.jsonl", "report.html", "report.json"


def new_folder(asked: Path | None, what: str, seed: int, base: Path = FOLDER) -> Path:
    """Made, and empty: the one asked for, or a new one in `base`. Raises OSError, also where something is in it."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    folder = asked or base / f"{stamp}-{what}-{seed}"
    folder.mkdir(parents=True, exist_ok=asked is not None)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    return folder


def add_out(parser: argparse.ArgumentParser) -> None:
    """`--out`."""
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"the run's folder (default: a new one in {FOLDER})")


def save(folder: Path, history: History, verdicts: Sequence[Verdict], replay: str = "") -> None:
    """Everything but logs. Raises OSError."""
    (folder / HISTORY).write_bytes(encode_history(history))
    write_page(folder / PAGE, history, verdicts, replay)
    (folder / DOCUMENT).write_bytes(encode_document(history, verdicts, replay))


def collect_logs(folder: Path) -> None:
    """Copy the logs out of the cluster's folder."""
    cluster, logs = folder / CLUSTER, folder / LOGS
    for path in sorted({*cluster.glob("*.log"), *cluster.glob(f"*/*/{LOG_FILE}*")}):
        logs.mkdir(exist_ok=True)
        name = path.name if path.parent == cluster else f"{path.parent.name}.{path.name}"
        shutil.copyfile(path, logs / name)


def tidy(folder: Path, verdicts: Sequence[Verdict]) -> None:
    """The files of nodes that did nothing wrong are of no use."""
    if worst(verdicts) is Judgement.PASS:
        shutil.rmtree(folder / CLUSTER, ignore_errors=True)


def remove(folder: Path) -> None:
    """A run that nobody needs any more."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # Others may be beside it.
        folder.parent.rmdir()

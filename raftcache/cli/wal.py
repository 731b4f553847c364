"""`raftcache wal`: what a node keeps on disk, whether it is whole, and what its logs say."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raftcache.cli.output import Failed, add_command, add_output, print_json

if TYPE_CHECKING:
    from raftcache.wal.api import Entry
    from raftcache.wal.inspection import GroupReport, Place, Unreadable
    from raftcache.wal.verification import Finding

LEVELS_UP = 3
"""So far above the directory given the node's own may be: that of a log is `groups/<group>/log`."""

DIR_HELP = "a node's data directory, a group's folder or a log's folder"
EPILOGUE = """
Nothing is written and no lock is taken: a node may be running on the directory."""
INSPECT_EXAMPLES = """\
  raftcache wal inspect raftcache-data/n0
  raftcache wal inspect raftcache-data/n0/groups/meta -o json
"""
VERIFY_EXAMPLES = """\
  raftcache wal verify raftcache-data/n0
  raftcache wal verify raftcache-data/n0/groups/meta
Exit code 0: all is whole; 1: there is damage, one line each on standard output. A torn tail is what an unfinished write
leaves, and no damage. A group's log is held in memory while it is read.
"""
DUMP_EXAMPLES = """\
  raftcache wal dump raftcache-data/n0/groups/meta
  raftcache wal dump --json raftcache-data/n0 | jq 'select(.kind == "batch")'
One line an entry: index, term, kind, bytes, and what it says. Values are not shown. A later entry may be one that was
never committed. What cannot be read is told on standard error; the exit code is 1 then.
"""


def add_commands(commands: Any) -> None:
    """Add `wal` and its commands to the parser."""
    parser = add_command(commands, "wal", "look at a node's files: logs, snapshots, votes")
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    inspecting = _add(group, "inspect", inspect, "show what is there", INSPECT_EXAMPLES)
    add_output(inspecting)
    verifying = _add(group, "verify", verify, "read everything and say what is damaged", VERIFY_EXAMPLES)
    add_output(verifying)
    dumping = _add(group, "dump", dump, "print the entries of the logs", DUMP_EXAMPLES)
    dumping.add_argument("--json", action="store_true", help="one JSON document a line")


def _add(group: Any, name: str, run: Any, summary: str, examples: str) -> argparse.ArgumentParser:
    parser = add_command(group, name, summary, examples + EPILOGUE.lstrip())
    parser.add_argument("directory", type=Path, metavar="DIR", help=DIR_HELP)
    parser.set_defaults(run=run)
    return parser


# -- inspect -----------------------------------------------------------------------------------------


def inspect(args: argparse.Namespace) -> int:
    """Show groups, segments, snapshots, votes and marks."""
    from raftcache.wal.files import OsFiles
    from raftcache.wal.inspection import inspect_group

    place, pid = _place(args.directory)
    reports = [inspect_group(OsFiles(), place, group) for group in place.groups]
    if args.output == "json":
        print_json(_inspection(place, pid, reports))
        return 0
    _print_tables(place, pid, reports)
    return 0


def _inspection(place: Place, pid: int | None, reports: list[GroupReport]) -> dict[str, Any]:
    groups = [
        {
            "group": report.files.group_id,
            "replica": report.replica and report.replica.number,
            "vote": report.vote and {"term": report.vote[0], "voted_for": report.vote[1]},
            "marks": report.marks,
            "segments": [segment._asdict() for segment in report.segments],
            "snapshots": [
                {
                    "path": snapshot.path,
                    "size_bytes": snapshot.size_bytes,
                    "meta": snapshot.meta and snapshot.meta._asdict(),
                    "problem": snapshot.problem,
                }
                for snapshot in report.snapshots
            ],
        }
        for report in reports
    ]
    return {"running_pid": pid, "run": _run_document(place), "groups": groups, "set_aside": _set_aside(place)}


def _print_tables(place: Place, pid: int | None, reports: list[GroupReport]) -> None:
    from raftcache.supervisor.report import make_console, new_table

    console = make_console()
    for line in _notes(place, pid):
        console.print(line, markup=False, soft_wrap=True)
    groups = new_table(console, "group", "replica", "term", "voted for", "entries", "log bytes", "snapshot", "marks")
    for report in reports:
        groups.add_row(*_group_row(report))
    console.print(groups)
    files = new_table(console, "group", "file", "bytes", "entries", "terms", "synced to", "problem")
    for report in reports:
        for row in _file_rows(report):
            files.add_row(report.files.group_id, *row)
    console.print(files)


def _notes(place: Place, pid: int | None) -> Iterator[str]:
    if pid is not None:
        yield f"A node runs on this directory (pid {pid}): what is shown is not all of one moment."
    run = _run_document(place)
    if run is not None:
        how = "has ended clean" if run["clean"] else "is running" if pid is not None else "did not end clean"
        fsync = "synced before it acknowledged" if run["always"] else "did not sync before it acknowledged"
        yield f"The last process {how}, under boot {run['boot_id'] or 'unknown'}; it {fsync}."
    for name in _set_aside(place):
        yield f"Set aside, and of no use to the node any more: {name}"


def _run_document(place: Place) -> dict[str, Any] | None:
    from raftcache.wal.errors import WalDamaged
    from raftcache.wal.files import OsFiles
    from raftcache.wal.node_files import read_run

    try:
        run = read_run(OsFiles(), place.root) if place.root else None
    except (WalDamaged, FileNotFoundError):
        return None
    return run and run._asdict()


def _set_aside(place: Place) -> list[str]:
    from raftcache.wal.node_files import DAMAGED

    folder = Path(place.root) / DAMAGED
    return sorted(str(path) for path in folder.iterdir()) if place.root and place.whole and folder.is_dir() else []


def _group_row(report: GroupReport) -> tuple[str, ...]:
    newest_generation = max((segment.generation for segment in report.segments), default=0)
    whole = [each for each in report.segments if each.first_index and each.generation == newest_generation]
    first = min((segment.first_index for segment in whole), default=1)
    last = max((segment.last_index for segment in whole), default=0)
    newest = report.snapshots[-1].meta if report.snapshots else None
    replica = "?" if report.replica is None else str(report.replica.number)
    if report.replica is not None and report.replica.intent:
        replica += f" ({report.replica.intent}: not finished)"
    term, voted_for = ("?", "?") if report.vote is None else (str(report.vote[0]), report.vote[1] or "-")
    size = f"{sum(segment.size_bytes for segment in report.segments):,}"
    snapshot = "-" if newest is None else f"at {newest.index:,} of term {newest.term}"
    return (
        report.files.group_id, replica, term, voted_for, _span(first, last), size, snapshot,
        " ".join(mark for mark in report.marks if mark != "boot") or "-",
    )  # fmt: skip


def _file_rows(report: GroupReport) -> Iterator[tuple[str, ...]]:
    for segment in report.segments:
        terms = "-" if not segment.last_term else str(segment.first_term)
        if segment.last_term != segment.first_term:
            terms += f"..{segment.last_term}"
        span, synced = _span(segment.first_index, segment.last_index), f"{segment.synced_index:,}"
        if not segment.first_index:
            span = synced = "?"
        name = f"log/{os.path.basename(segment.path)}"
        yield name, f"{segment.size_bytes:,}", span, terms, synced, segment.problem or "-"
    for snapshot in report.snapshots:
        name, meta = f"snapshots/{os.path.basename(snapshot.path)}", snapshot.meta
        of = ("?", "?", "?") if meta is None else (f"up to {meta.index:,}", str(meta.term), f"{meta.index:,}")
        yield name, f"{snapshot.size_bytes:,}", *of, snapshot.problem or "-"


def _span(first: int, last: int) -> str:
    return f"{first:,}..{last:,}" if last >= first else f"none after {first - 1:,}"


# -- verify ------------------------------------------------------------------------------------------


def verify(args: argparse.Namespace) -> int:
    """Read everything; 0 where it is whole."""
    from raftcache.clock import boot_id
    from raftcache.wal.files import OsFiles
    from raftcache.wal.verification import verify_place

    place, pid = _place(args.directory)
    damaged = 0
    rows: list[dict[str, Any]] = []
    if pid is not None and args.output == "text":
        print(f"A node runs on this directory (pid {pid}): the end of a log may be in the middle of being written.")
    for group_id, findings in verify_place(OsFiles(), place, boot_id(), in_use=pid is not None):
        damaged += sum(each.damage for each in findings)
        rows += [{"group": group_id or None, **each._asdict()} for each in findings]
        if args.output == "text":
            _print_findings(group_id, findings)
    if args.output == "json":
        print_json({"running_pid": pid, "whole": not damaged, "findings": rows})
    return 1 if damaged else 0


def _print_findings(group_id: str, findings: list[Finding]) -> None:
    state = "damaged" if any(each.damage for each in findings) else "whole"
    print(f"{group_id or 'votes, replica numbers, run'}: {state}")
    for each in findings:
        print(f"  {each.path}: byte {each.offset}: {each.reason}. {each.way_out}".rstrip())


# -- dump --------------------------------------------------------------------------------------------


def dump(args: argparse.Namespace) -> int:
    """Print every entry, one segment in memory at a time."""
    from raftcache.wal.api import Entry
    from raftcache.wal.files import OsFiles
    from raftcache.wal.inspection import entries_of

    place, _ = _place(args.directory)
    damaged = False
    for group in place.groups:
        if not args.json:
            print(f"# {group.group_id}: index, term, kind, bytes")
        for each in entries_of(OsFiles(), group):
            if isinstance(each, Entry):
                _print_entry(group.group_id, each, args.json)
            else:
                damaged |= not each.torn
                _complain(each)
    return 1 if damaged else 0


def _print_entry(group_id: str, entry: Entry, as_json: bool) -> None:
    from raftcache.cli.decoding import describe, summary

    document = describe(group_id, entry)
    if as_json:
        print_json({"group": group_id, **document})
    else:
        line = f"{entry.index:>9} {entry.term:>5} {document['kind']:<8} {len(entry.data):>9,}  {summary(document)}"
        print(line.rstrip())


def _complain(unreadable: Unreadable) -> None:
    sys.stdout.flush()
    what = "torn tail" if unreadable.torn else "damaged"
    print(f"{unreadable.path}: {what} at byte {unreadable.offset}: {unreadable.reason}", file=sys.stderr)


# -- both --------------------------------------------------------------------------------------------


def _place(directory: Path) -> tuple[Place, int | None]:
    """What the directory is, and the node that runs on it. Raises Failed, UnsupportedFormat."""
    from raftcache.identity import IDENTITY_FILE, load_identity, running_on
    from raftcache.wal.files import OsFiles
    from raftcache.wal.inspection import locate

    directory = directory.absolute()
    above = [directory, *directory.parents][: LEVELS_UP + 1]
    data_dir = next((path for path in above if (path / IDENTITY_FILE).exists()), None)
    if data_dir is not None:
        load_identity(data_dir)
    try:
        place = locate(OsFiles(), str(directory))
    except ValueError as error:
        raise Failed(str(error)) from None
    return place, running_on(data_dir) if data_dir is not None else None

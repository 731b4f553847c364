"""Exit codes: 0 only for a pass, 1 for a broken promise, 2 for no answer and for bad usage, 130 when interrupted."""

from __future__ import annotations

from jepsen_like.checking import Judgement

PASSED, BROKEN, UNKNOWN, INTERRUPTED = 0, 1, 2, 130
EPILOG = "Exit codes: 0 only for a pass; 1 a promise is broken; 2 no answer, or called wrongly; 130 interrupted."


def exit_code(judgement: Judgement) -> int:
    """Of what was found."""
    return {Judgement.PASS: PASSED, Judgement.FAIL: BROKEN, Judgement.UNKNOWN: UNKNOWN}[judgement]

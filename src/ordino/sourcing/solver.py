"""HiGHS, without its voice, and with the same answer to the same question."""

from __future__ import annotations

import os
import sys
from functools import cache

import highspy


def solver() -> highspy.Highs:
    """A fresh solver of one thread."""
    _no_banner()
    made: highspy.Highs = highspy.Highs()  # type: ignore[no-untyped-call]
    made.setOptionValue("output_flag", False)
    made.setOptionValue("random_seed", 1)
    made.setOptionValue("threads", 1)
    return made


@cache
def _no_banner() -> None:
    """The first solver of a process writes who it is to standard output, which belongs to others."""
    sys.stdout.flush()
    out, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        highspy.Highs()  # type: ignore[no-untyped-call]
    finally:
        os.dup2(out, 1)
        os.close(out)
        os.close(nowhere)

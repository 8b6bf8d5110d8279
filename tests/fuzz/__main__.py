"""Run the long attacks, and print what was tried.

    python -m flexhyca.tests.fuzz [SHARE] [WORD ...]

SHARE : of the cases of a long run, 1 by default; of every kind at least one. All of them take
hours, 0.008 of them 5 minutes on a core (and no less takes less than 4: each kind of kill and
company begins with an undisturbed run). WORD : only kinds that have one of these words.
A line of the table is printed as its kind ends. Exits with 1 where a case fell; what it was
stands on standard error.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from pathlib import Path

from .attacks import Attack, every, failures


def run(attack: Attack, share: float) -> tuple[int, int]:
    """How many cases were tried, and in how many ways they fell."""
    cases = max(1, round(share * attack.long))
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flexhyca-fuzz.", ignore_cleanup_errors=True) as folder:
        try:
            count, fell = attack.attempt(Path(folder), cases), 0
        except Exception as error:  # whatever a case raises is a finding
            count, fell = cases, len(failures(error))
            traceback.print_exc()
    print_row(attack.kind, count, fell, begin, f"`test_attacks.py::test_long[{attack}]`")
    return count, fell


def print_row(kind: str, count: int, fell: int, begin: float, test: str = "") -> None:
    """A line of the table, at once: who ends a run that takes hours has what was done."""
    took = time.monotonic() - begin
    print(f"| {kind} | {count:,} | {fell} | {took:.0f} | {test} |", flush=True)


def main(words: list[str]) -> int:
    """The table; how many fell."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    share = float(words.pop(0)) if words and words[0].replace(".", "", 1).isdigit() else 1.0
    chosen = [a for a in every() if not words or any(word in a.kind for word in words)]
    begin = time.monotonic()
    print("| kind | cases tried | failing | s | test that holds it |\n|---|---|---|---|---|")
    rows = [run(attack, share) for attack in chosen]
    total = sum(fell for _, fell in rows)
    print_row("all", sum(count for count, _ in rows), total, begin)
    return total


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))

"""Run the long attacks, and print what was tried.

    python -m flexhyca.tests.fuzz [SHARE] [WORD ...]

SHARE : of the cases of a long run, 1 by default. WORD : only kinds that have one of these words.
Exits with 1 where a case fell; what it was stands before the table.
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
    took = time.monotonic() - begin
    print(
        f"{attack.kind}: {count} tried, {fell} failing, {took:.0f} s", file=sys.stderr, flush=True
    )
    return count, fell


def main(words: list[str]) -> int:
    """The table; how many fell."""
    share = float(words.pop(0)) if words and words[0].replace(".", "", 1).isdigit() else 1.0
    chosen = [a for a in every() if not words or any(word in a.kind for word in words)]
    rows = [(attack, *run(attack, share)) for attack in chosen]
    print("| kind | cases tried | failing | test that holds it |\n|---|---|---|---|")
    for attack, count, fell in rows:
        print(f"| {attack.kind} | {count:,} | {fell} | `test_attacks.py::test_long[{attack}]` |")
    total = sum(fell for *_, fell in rows)
    print(f"| all | {sum(count for _, count, _ in rows):,} | {total} | |")
    return total


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))

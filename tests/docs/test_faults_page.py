"""The tables of docs/faults.md are those of the sources."""

from pathlib import Path

import flexhyca
from flexhyca.faults.machine.outcomes import OUTCOMES, STAGES
from flexhyca.isa.registers import BY_UNIT

PAGE = (Path(flexhyca.__file__).parent / "docs" / "faults.md").read_text(encoding="utf-8")


def test_outcomes_are_current() -> None:
    rows = {f"masked:{stage}": text for stage, text in STAGES.items()}
    rows |= dict(reversed(OUTCOMES.items()))
    table = "".join(f"| `{name}` | {text} |\n" for name, text in rows.items())
    assert table in PAGE


def test_registers_are_current() -> None:
    for register in BY_UNIT["array"].values():
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{register.name}` |"))
        assert row.endswith(f"| {register.reach} |")

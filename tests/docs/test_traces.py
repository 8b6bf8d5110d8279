"""docs/traces.md says what the tables of the sources say."""

from pathlib import Path

import flexhyca
from flexhyca.isa.instructions import Engine
from flexhyca.report.layers import CSV_COLUMNS
from flexhyca.report.trace import INTERVALS, MOST_CHANGES, MOST_SLICES, TRACKS
from flexhyca.simulator.cycles.occupancy import COUNTERS
from flexhyca.simulator.cycles.stalls import (
    BOUND,
    BUSY,
    RESOURCES,
    STALLS,
)

ROOT = Path(flexhyca.__file__).parent
PAGE = (ROOT / "docs" / "traces.md").read_text(encoding="utf-8")


def rows(first: str) -> list[str]:
    """The rows of the table behind the line `first`, without its head."""
    lines = PAGE[PAGE.index(f"\n{first}\n") :].lstrip("\n").splitlines()[1:]
    begin = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    end = next(i for i, line in enumerate(lines) if i > begin and not line.startswith("|"))
    return lines[begin + 1 : end]


def test_the_states_of_every_engine() -> None:
    for engine in Engine:
        found = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows(f"{engine.name}:")]
        assert [row[0] for row in found] == [f"`{state}`" for state in (BUSY, *STALLS[engine])]
        assert [row[-1] for row in found[1:]] == list(STALLS[engine].values())
        if engine in BOUND:
            said = [BOUND[engine].get(state, "") for state in (BUSY, *STALLS[engine])]
            assert [row[1] for row in found] == said


def test_resources_and_columns() -> None:
    assert rows("name the resource that sets the pace of a layer:") == [
        f"| `{name}` | {meaning} |" for name, meaning in RESOURCES.items()
    ]
    found = rows("## Rows: `--layers`")
    assert found[:-3] == [f"| `{name}` | {meaning} |" for name, meaning in CSV_COLUMNS.items()]


def test_tracks_counters_and_limits() -> None:
    first = [row.split("|")[1].strip() for row in rows("## The trace")]
    assert ", ".join(first).split(", ") == list(TRACKS)
    begin = PAGE.index("| counter | counts |")
    table = PAGE[begin : PAGE.index("\n\n", begin)].splitlines()[2:]
    first = [row.split("|")[1].strip() for row in table]
    assert ", ".join(first).split(", ") == ["DRAM bytes per cycle", *COUNTERS]
    for number in (MOST_SLICES, MOST_CHANGES, INTERVALS):
        assert f"{number:,}" in PAGE

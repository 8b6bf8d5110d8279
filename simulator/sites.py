"""Fault sites: which bit of which register flips, when. Plain data, one line of text each.

A site of the array is counted within its tile: `cycle` from the first operand's latch on (a flip at
cycle t acts on the stored value before it is read in step t), `row` and `col` name the PE.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..errors import FlexhycaError
from ..isa.protection import copies
from ..isa.registers import BY_UNIT, UNIT_OF_DATAFLOW
from .stepper import Flip
from .tiles import Tile, Tiles
from .timing import os_tile_cycles

#: Short names in the text form.
_KEYS = {"reg": "register"}


@dataclass(frozen=True)
class Site:
    """One transient flip of one stored bit; `copy` counts the copies of a protected bit."""

    layer: str
    tile: int
    cycle: int
    row: int
    col: int
    register: str
    bit: int
    copy: int = 0
    unit: str = UNIT_OF_DATAFLOW["os"]

    def __str__(self) -> str:
        short = {name: key for key, name in _KEYS.items()}
        return ",".join(f"{short.get(name, name)}={value}" for name, value in asdict(self).items())


def parse_site(text: str) -> Site:
    """Read `layer=conv1,tile=0,cycle=40,row=3,col=4,reg=act,bit=6`; raises FlexhycaError."""
    fields = Site.__dataclass_fields__
    values: dict[str, object] = {}
    for part in text.split(","):
        key, equals, value = (x.strip() for x in part.partition("="))
        name = _KEYS.get(key, key)
        if not equals or name not in fields:
            near = difflib.get_close_matches(key, [*fields, *_KEYS], 1)
            hint = f"; did you mean {near[0]}?" if near else f"; keys are {', '.join(fields)}"
            raise FlexhycaError(f"site {text!r}: {part.strip()!r} is not KEY=VALUE of a site{hint}")
        if name in values:
            raise FlexhycaError(f"site {text!r}: {key} stands twice")
        if fields[name].type == "int":
            if not value.removeprefix("-").isdecimal():
                raise FlexhycaError(f"site {text!r}: {key}={value!r} is not an integer")
            values[name] = int(value)
        else:
            values[name] = value
    missing = [name for name in fields if name not in values and name not in ("copy", "unit")]
    if missing:
        raise FlexhycaError(f"site {text!r}: {', '.join(missing)} missing")
    return Site(**values)  # type: ignore[arg-type]


def resolve(site: Site, tiles: Tiles) -> tuple[Tile, Flip]:
    """The tile that `site` names, and the flip in it; FlexhycaError where there is none such."""
    config, network = tiles.program.config, tiles.network
    names = {network.layers[index].name: index for index in tiles.of}
    if site.layer not in names:
        near = difflib.get_close_matches(site.layer, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"layers are {', '.join(names)}"
        raise FlexhycaError(
            f"site {site}: layer {site.layer!r} is no conv or linear layer of "
            f"{tiles.program.name}; {hint}"
        )
    own = tiles.of[names[site.layer]]
    _check(site, "tile", site.tile, len(own))
    tile = own[site.tile]
    if site.unit not in BY_UNIT or site.unit != UNIT_OF_DATAFLOW[config.array.dataflow]:
        unit = UNIT_OF_DATAFLOW[config.array.dataflow]
        raise FlexhycaError(f"site {site}: unit {site.unit!r} is not in this machine; use {unit}")
    registers = BY_UNIT[site.unit]
    if site.register not in registers:
        raise FlexhycaError(
            f"site {site}: register {site.register!r} does not exist; use {', '.join(registers)}"
        )
    cycles = os_tile_cycles(tiles.depth(tile), config.array.rows, config.array.cols)
    _check(site, "cycle", site.cycle, cycles)
    _check(site, "row", site.row, config.array.rows)
    _check(site, "col", site.col, config.array.cols)
    _check(site, "bit", site.bit, registers[site.register].bits(network.arithmetic))
    shift = network.layers[tile.layer].shift
    _check(site, "copy", site.copy, copies(config, shift, site.register, site.bit))
    return tile, Flip(site.cycle, site.register, site.row, site.col, site.bit)


def voted(sites: Sequence[Site], tiles: Tiles) -> list[tuple[Tile, Flip | None]]:
    """The flips that `sites` amount to once the voters have spoken; None where one is outvoted.

    A copy that is hit twice in a cycle is right again.  Of a protected bit two of three copies must
    be wrong in the same cycle, and that is one flip.  One entry a site, the flip at the first of
    those that make it.
    """
    wrong: dict[tuple[int, int, Flip], dict[int, int]] = {}
    named = [resolve(site, tiles) for site in sites]
    for site, (tile, flip) in zip(sites, named, strict=True):
        own = wrong.setdefault((tile.layer, tile.number, flip), {})
        own[site.copy] = own.get(site.copy, 0) ^ 1
    result: list[tuple[Tile, Flip | None]] = []
    for tile, flip in named:
        own = wrong.pop((tile.layer, tile.number, flip), {})  # the others of its kind find nothing
        shift = tiles.network.layers[tile.layer].shift
        needed = copies(tiles.program.config, shift, flip.register, flip.bit) // 2 + 1
        result.append((tile, flip if sum(own.values()) >= needed else None))
    return result


def _check(site: Site, name: str, value: int, limit: int) -> None:
    if not 0 <= value < limit:
        raise FlexhycaError(f"site {site}: {name}={value} is outside 0..{limit - 1}")

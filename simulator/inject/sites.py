"""Fault sites: which bit of which register is wrong, when. Plain data, one line of text each.

Where a register stands, and so what `row` and `col` count, says the register table.  `cycle` counts
within a tile, from its first operand on; a flip at cycle t acts on the stored value before it is
read in that cycle.  A site with `stuck` is a bit that holds 0 or 1 for a while, or for ever.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ...config import Config
from ...errors import FlexhycaError
from ...isa.registers import (
    BY_UNIT,
    DPPU_UNITS,
    SKEW_OF_DATAFLOW,
    UNIT_OF_DATAFLOW,
    Register,
)

#: All layers of a network, or all tiles of a layer, in the text form.
ALL = "*"
#: `tile` of a site in all tiles, `stuck` of a flip, `until` of what lasts to the tile's end.
EVERY = FLIP = END = -1

#: Other names of keys in the text form.
_KEYS = {"reg": "register", "word": "row", "byte": "row"}
_NEEDED = ("layer", "tile", "cycle", "row", "col", "register", "bit")


@dataclass(frozen=True)
class Site:
    """One wrong bit.

    layer : its name, ALL for a bit that is stuck for ever. tile : within the layer, EVERY for all.
    row, col : what the register table says of them; a buffer's word is its `row`. copy : of the
    copies of a protected bit. stuck : FLIP, or the value that the bit holds from `cycle` on.
    until : the first cycle of the tile in which a stuck bit is free again, END for the tile's end.
    """

    layer: str
    tile: int
    cycle: int
    row: int
    col: int
    register: str
    bit: int
    copy: int = 0
    unit: str = UNIT_OF_DATAFLOW["os"]
    stuck: int = FLIP
    until: int = END

    def __str__(self) -> str:
        word = self.unit == "buffer"
        where = f"word={self.row}" if word else f"row={self.row},col={self.col}"
        tile = ALL if self.tile == EVERY else self.tile
        text = f"layer={self.layer},tile={tile},cycle={self.cycle},{where},reg={self.register}"
        text += f",bit={self.bit}" + ("" if word and not self.copy else f",copy={self.copy}")
        text += f",unit={self.unit}"
        if self.stuck != FLIP:
            text += f",stuck={self.stuck}"
        return text + ("" if self.until == END else f",until={self.until}")


def parse_site(text: str) -> Site:
    """Read `layer=conv1,tile=0,cycle=40,row=3,col=4,reg=act,bit=6`; raises FlexhycaError.

    The unit may be left out where the register stands in one only, or in the array; the cycle where
    a register has but one moment in a tile, or the bit is stuck for ever.
    """
    fields = Site.__dataclass_fields__
    values: dict[str, str | int] = {}
    for part in text.split(","):
        key, equals, value = (x.strip() for x in part.partition("="))
        name = _KEYS.get(key, key)
        if not equals or name not in fields:
            near = difflib.get_close_matches(key, [*fields, *_KEYS], 1)
            hint = f"; did you mean {near[0]}?" if near else f"; keys are {', '.join(fields)}"
            raise FlexhycaError(f"site {text!r}: {part.strip()!r} is not KEY=VALUE of a site{hint}")
        if name in values:
            raise FlexhycaError(f"site {text!r}: {key} stands twice")
        if fields[name].type != "int":
            values[name] = value
        elif name == "tile" and value == ALL:
            values[name] = EVERY
        elif value.isascii() and value.isdecimal() and len(value) < 19:
            values[name] = int(value)
        else:
            raise FlexhycaError(f"site {text!r}: {key}={value!r} is not a natural number")
    if "register" in values:
        _fill(text, values)
    missing = [x for x in _NEEDED if x not in values]
    if missing:
        raise FlexhycaError(f"site {text!r}: {', '.join(missing)} missing")
    site = Site(**values)  # type: ignore[arg-type]
    _check_duration(site, text)
    return site


def _fill(text: str, values: dict[str, str | int]) -> None:
    """Put in what the register table knows: the unit, and coordinates that a register lacks."""
    name = str(values["register"])
    units = [unit for unit, registers in BY_UNIT.items() if name in registers]
    if "unit" not in values:
        usual = UNIT_OF_DATAFLOW["os"]
        if len(units) > 1 and usual not in units:
            raise FlexhycaError(
                f"site {text!r}: register {name!r} is in units {', '.join(units)}; give unit="
            )
        values["unit"] = usual if usual in units or not units else units[0]
    register = BY_UNIT.get(str(values["unit"]), {}).get(name)
    if register is None:
        return  # `check_place` says so
    if not register.col:
        values.setdefault("col", 0)
    if not register.row:
        values.setdefault("row", 0)
    if not register.timed or values.get("layer") == ALL or values.get("tile") == EVERY:
        values.setdefault("cycle", 0)


def _check_duration(site: Site, text: str) -> None:
    if site.stuck not in (FLIP, 0, 1):
        raise FlexhycaError(f"site {text!r}: stuck={site.stuck} is no bit; use 0 or 1")
    if site.layer == ALL and site.tile != EVERY:
        raise FlexhycaError(f"site {text!r}: layer=* needs tile=*, a bit that is stuck for ever")
    if site.stuck == FLIP and site.tile == EVERY:
        raise FlexhycaError(f"site {text!r}: tile=* is for stuck bits; give stuck=0 or stuck=1")
    if site.stuck == FLIP and site.until != END:
        raise FlexhycaError(f"site {text!r}: until is for stuck bits; give stuck=0 or stuck=1")
    if site.tile == EVERY and (site.cycle or site.until != END):
        raise FlexhycaError(f"site {text!r}: a bit that is stuck in every tile has no cycle")
    if site.until != END and site.until <= site.cycle:
        raise FlexhycaError(
            f"site {text!r}: until={site.until} is not after cycle={site.cycle}; it is the first "
            "cycle in which the bit is free again"
        )


def units_of(config: Config) -> list[str]:
    """The units of the register table that a machine has."""
    by_dataflow = (UNIT_OF_DATAFLOW, SKEW_OF_DATAFLOW)
    own = {units[config.array.dataflow] for units in by_dataflow}
    foreign = {unit for units in by_dataflow for unit in units.values()} - own
    if not config.dppu.size:
        foreign |= set(DPPU_UNITS)
    return [unit for unit in BY_UNIT if unit not in foreign]


def check_place(site: Site, config: Config) -> Register:
    """The register of a site; FlexhycaError where it, its unit or the place does not exist."""
    units = units_of(config)
    if site.unit not in units:
        raise FlexhycaError(
            f"site {site}: unit {site.unit!r} is not in this machine; use {', '.join(units)}"
        )
    registers = BY_UNIT[site.unit]
    if site.register not in registers:
        raise FlexhycaError(
            f"site {site}: register {site.register!r} does not exist; use {', '.join(registers)}"
        )
    register = registers[site.register]
    place = register.row if register.row and not register.col else ""
    if site.register != "instruction":  # each tile has a number of its own
        check_limit(site, "word" if place else "row", site.row, register.rows(config))
    check_limit(site, "col", site.col, register.cols(config))
    if not register.exists(site.row, site.col):
        raise FlexhycaError(
            f"site {site}: there is no {site.register} at row={site.row}, col={site.col}; its "
            f"coordinates are: {register.row}, {register.col}"
        )
    return register


def check_limit(site: Site, name: str, value: int, limit: int) -> None:
    """Raise FlexhycaError where a site's value is none of 0..limit-1."""
    if limit < 1:
        raise FlexhycaError(f"site {site}: there is no {site.register} here ({name}={value})")
    if not 0 <= value < limit:
        raise FlexhycaError(f"site {site}: {name}={value} is outside 0..{limit - 1}")

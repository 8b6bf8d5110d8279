"""The points of a search: what may be chosen, and which combinations mean something.

A parameter is a field of the configuration.  `PARAMETERS` says of each what it does to accuracy and
to area when it grows, which is all that pruning may use; cycles and traffic are monotone in none of
them (paper, III-E; measured: traffic falls where a larger DPPU leaves less to fetch).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from pydantic import BaseModel

from ..config import Config
from ..config.accelerator import contradictions
from ..config.fields import section
from ..config.search import FieldValue, Search
from ..errors import ConfigError
from ..tables import complete

_MOST_POINTS = 1_000_000
PointValues = tuple[FieldValue, ...]  #: of a point, in the order of `Space.names`


@dataclass(frozen=True)
class Parameter:
    """A field that may be searched. paper : its name there.

    accuracy, area : 1 where more of it can only help accuracy, or cost area; -1 the other way
    round; 0 where neither is declared. dppu : whether it is idle without a DPPU.
    """

    name: str
    paper: str
    accuracy: int = 0
    area: int = 0
    dppu: bool = False


_ROWS = (
    Parameter("protection.s_th", "S_TH", accuracy=1, dppu=True),
    Parameter("protection.s_policy", "S_policy", dppu=True),
    Parameter("protection.ib_th", "IB_TH", accuracy=1, area=1, dppu=True),
    Parameter("protection.nb_th", "NB_TH", accuracy=1, area=1),
    Parameter("protection.q_scale", "Q_scale", accuracy=-1, area=-1),
    Parameter("protection.pe_policy", "PE_policy"),
    Parameter("dppu.size", "Dot_size", area=1, dppu=True),
    Parameter("dppu.data_reuse", "Data_reuse", dppu=True),
    Parameter("dppu.width", "-", dppu=True),
    Parameter("dppu.window", "-", dppu=True),
    Parameter("dppu.sram_bytes_per_cycle", "-", dppu=True),
)
#: Name -> parameter.
PARAMETERS = {row.name: row for row in _ROWS}
#: Fields of these two sections that are no parameters: schemes of their own, and the voter,
#: which changes neither accuracy (as bit error rates see it), nor time, nor area.
_FIXED = (
    *("protection.voter", "protection.redundancy", "protection.redundant_layers"),
    "protection.hardened_cols",
)
complete(
    "fields of protection and dppu in config/schema.py",
    [f"{part}.{leaf}" for part in ("protection", "dppu") for leaf in section(part).model_fields],
    [*PARAMETERS, *_FIXED],
    "dse/space.py: PARAMETERS",
)
_DEFAULT = {
    name: section(name.split(".")[0]).model_fields[name.split(".")[1]].default
    for name in PARAMETERS
}


class DesignPoint(NamedTuple):
    """One design. values : in the order of `Space.names`."""

    values: PointValues
    config: Config


@dataclass(frozen=True)
class Space:
    """What may be chosen. base : the machine, whose other fields all points have."""

    base: Config
    names: tuple[str, ...]
    values: tuple[PointValues, ...]

    @classmethod
    def of(cls, search: Search, base: Config) -> Space:
        """Raises ConfigError for a field that cannot be searched, and for too many points."""
        for name in search.values:
            if name not in PARAMETERS:
                raise ConfigError(
                    f"{search.name}: parameters.{name}: cannot be searched; these can: "
                    f"{', '.join(PARAMETERS)} (flexhyca sweep varies any field)"
                )
        if base.protection.hardened_cols:
            raise ConfigError(
                f"{search.name}: {base.name} has protection.hardened_cols = "
                f"{base.protection.hardened_cols}, the rival of the DPPU, which is not searched; "
                "set it to 0 (flexhyca compare measures the scheme tmr_cols)"
            )
        names = tuple(name for name in PARAMETERS if name in search.values)
        space = cls(base, names, tuple(search.values[name] for name in names))
        if math.prod(map(len, space.values)) > _MOST_POINTS:
            raise ConfigError(
                f"{search.name}: {math.prod(map(len, space.values)):,} points, more than "
                f"{_MOST_POINTS:,}; give fewer values"
            )
        return space

    def points(self) -> list[DesignPoint]:
        """Every design that means something, once; ConfigError where there is none."""
        found: dict[PointValues, DesignPoint] = {}
        refused: dict[str, int] = {}
        size, share = (self._reader(name) for name in ("dppu.size", "protection.s_th"))
        for given in itertools.product(*self.values):
            if (size(given) == 0) != (share(given) == 0):
                continue  # a DPPU without work, or work without a DPPU
            values = given if size(given) else self._without_dppu(given)
            if values in found:
                continue
            config = self.config(values)
            problems = contradictions(config)
            if problems:
                why = " ".join(problems[0])
                refused[why] = refused.get(why, 0) + 1
            else:
                found[values] = DesignPoint(values, config)
        if not found:
            raise ConfigError(f"no point of the space is possible; {_most(refused)}")
        return list(found.values())

    def config(self, values: PointValues) -> Config:
        """The machine with these values, each of which was checked when it was read.

        Not validated again, which would take minutes for a space: `contradictions` says whether
        they can stand together.
        """
        parts = {}
        for part, names, places in self._sections:
            own = tuple(values[i] for i in places)
            if (part, own) not in self._made:
                changed = dict(zip(names, own, strict=True))
                self._made[part, own] = getattr(self.base, part).model_copy(update=changed)
            parts[part] = self._made[part, own]
        return self.base.model_copy(update=parts)

    @cached_property
    def _sections(self) -> list[tuple[str, list[str], list[int]]]:
        """Section -> its fields that are searched, and where they stand."""
        found = []
        for part in dict.fromkeys(name.partition(".")[0] for name in self.names):
            places = [i for i, name in enumerate(self.names) if name.startswith(f"{part}.")]
            found.append((part, [self.names[i].partition(".")[2] for i in places], places))
        return found

    @cached_property
    def _made(self) -> dict[tuple[str, PointValues], BaseModel]:
        return {}

    def _reader(self, name: str) -> Callable[[PointValues], Any]:
        """A point's value of a field, whether it is searched or not."""
        if name in self.names:
            return itemgetter(self.names.index(name))
        fixed = attrgetter(name)(self.base)
        return lambda values: fixed

    def _without_dppu(self, given: PointValues) -> PointValues:
        """The values with those at their defaults that are idle without a DPPU."""
        own = dict(zip(self.names, given, strict=True))
        own |= {name: _DEFAULT[name] for name in own if PARAMETERS[name].dppu}
        own |= {name: 0 for name in ("dppu.size", "protection.s_th") if name in own}
        if "protection.ib_th" in own:
            own["protection.ib_th"] = self._reader("protection.nb_th")(given)
        return tuple(own[name] for name in self.names)

    def features(self, values: PointValues) -> tuple[float, ...]:
        """Of a point, for a surrogate of accuracy: 0..1 each, nothing of a mask that is idle."""
        config = self.config(values).protection
        masked = config.s_th > 0 and config.ib_th > config.nb_th
        found = []
        for i, name in enumerate(self.names):
            row, span = PARAMETERS[name], self.values[i]
            if not name.startswith("protection.") or len(span) < 2:
                continue
            idle = row.dppu and not masked
            if row.accuracy:
                low, high = min(map(float, span)), max(map(float, span))
                found.append(0.0 if idle else (float(values[i]) - low) / (high - low))
            elif row.dppu:
                found += [float(not idle and values[i] == value) for value in span]
        return tuple(found)

    def label(self, values: PointValues) -> str:
        """For people."""
        names = (name.partition(".")[2] for name in self.names)
        return " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))


def _most(refused: Mapping[str, int]) -> str:
    """What refuses most points, for a message."""
    if not refused:
        return (
            "a DPPU needs important neurons and they need a DPPU: dppu.size and protection.s_th "
            "are either both 0 or both above it"
        )
    why = max(refused, key=lambda text: refused[text])
    return f"{refused[why]} points: {why}"

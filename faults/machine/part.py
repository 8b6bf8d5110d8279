"""A part of what can be hit: some units, registers and layers, of which a campaign then tells."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ...errors import FlexhycaError
from ...isa.registers import BY_UNIT, Register, users
from ...network.names import matches
from ...simulator.inject.sites import units_of
from ...simulator.text.spans import Spans
from ...tables import complete
from ..models import machine_model


@dataclass(frozen=True)
class Part:
    """units, registers : names of the register table. layers : names, with wildcards. (): all."""

    units: tuple[str, ...] = ()
    registers: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return not (self.units or self.registers or self.layers)

    def has(self, register: Register) -> bool:
        """Whether a register belongs to it."""
        return (not self.units or register.unit in self.units) and (
            not self.registers or register.name in self.registers
        )

    def layers_of(self, spans: Spans) -> list[int]:
        """Numbers of the layers that belong to it."""
        names = spans.program.layer_names
        return [i for i in spans.own if not self.layers or self._named(names[i])]

    def _named(self, layer: str) -> bool:
        return any(matches(pattern, layer) for pattern in self.layers)

    def check(self, spans: Spans, model: str, permanent: bool = False) -> None:
        """FlexhycaError for a name that means nothing on this machine, or to this program.

        permanent : whether a register of two units belongs to one of them.
        """
        hits, config = machine_model(model).hits, spans.program.config
        own = [
            register
            for unit in units_of(config)
            for register in BY_UNIT[unit].values()
            if register.model in hits
            and unit in (users(register, config)[:1] if permanent else users(register, config))
        ]
        layers = [spans.program.layer_names[i] for i, tiles in spans.own.items() if tiles]
        _check("unit", self.units, list(dict.fromkeys(r.unit for r in own)), model)
        there = [r.name for r in own if not self.units or r.unit in self.units]
        _check("register", self.registers, list(dict.fromkeys(there)), model)
        for pattern in self.layers:
            if not any(matches(pattern, name) for name in layers):
                _check("layers", [pattern], layers, model)

    def wider(self) -> Iterator[tuple[str, Part]]:
        """Each option that narrows it, and the part without that."""
        for name, option in _OPTIONS.items():
            if getattr(self, name):
                yield option, replace(self, **{name: ()})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: list(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Part:
        """The part again."""
        return cls(**{name: tuple(value) for name, value in values.items()})


EVERYTHING = Part()
#: Field -> the option that gives it.
_OPTIONS = {"units": "--unit", "registers": "--register", "layers": "--layers"}
complete(
    "the fields of Part in faults/machine/part.py",
    [field.name for field in fields(Part)],
    _OPTIONS,
    "faults/machine/part.py: _OPTIONS",
)


class NothingToHitError(FlexhycaError):
    """A program has no bit that a fault model could hit, in the part that was asked for.

    wide : options without any one of which there are some.
    """

    def __init__(self, program: str, model: str, part: Part, wide: Sequence[str] = ()) -> None:
        given = " ".join(
            f"{option} {','.join(getattr(part, name))}"
            for name, option in _OPTIONS.items()
            if getattr(part, name)
        )
        what = f"{program}: there is no bit for fault model {model!r} to hit"
        if part.whole:
            super().__init__(what)
        elif wide:
            super().__init__(
                f"{what} with {given}", f"there are some without {' or without '.join(wide)}"
            )
        else:
            super().__init__(
                f"{what} with {given}, nor without one of these", "ask for another part"
            )


def _check(what: str, names: Sequence[str], known: Sequence[str], model: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"use {', '.join(known)}"
            raise FlexhycaError(
                f"{what} {name!r} is nothing that fault model {model!r} hits here; {hint}"
            )

"""The table of fault models: what a random fault is, and what it hits.

Whoever draws them (`machine.population`, `ber`) and whoever can be asked for them (`cli.inject`)
takes its rows from here; docs/faults.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import FlexhycaError, InternalError
from ..tables import complete

#: A bit that flips once; one that is stuck at 0 or 1; every stored bit, each with a probability.
Fault = Literal["flip", "stuck", "rate"]
#: Those of every bit, so that none is drawn.
_OF_EVERY_BIT: tuple[Fault, ...] = ("rate",)


@dataclass(frozen=True)
class FaultModel:
    """A row. hits : `model` of the registers (isa.registers) that it draws from; a rate: none."""

    meaning: str
    fault: Fault
    hits: tuple[str, ...] = ()


FAULT_MODELS: dict[str, FaultModel] = {
    "register": FaultModel(
        "transient flips in the flip-flops of the array and the DPPU", "flip", ("register",)
    ),
    "memory": FaultModel("transient flips in words of the buffers", "flip", ("memory",)),
    "control": FaultModel(
        "transient flips in position tables and in instructions",
        "flip",
        ("control",),
    ),
    "stuck": FaultModel(
        "bits of registers and buffers that are stuck at 0 or 1", "stuck", ("register", "memory")
    ),
    "ber": FaultModel(
        "every stored bit of neurons and weights is wrong with a probability", "rate"
    ),
}
complete(
    "Fault in faults/models.py",
    get_args(Fault),
    sorted({row.fault for row in FAULT_MODELS.values()}),
    "faults/models.py: FAULT_MODELS, the `fault` of a row",
)
for _name, _row in FAULT_MODELS.items():
    if bool(_row.hits) == (_row.fault in _OF_EVERY_BIT):
        raise InternalError(
            f"faults/models.py: FAULT_MODELS: {_name}: a {_row.fault} "
            + ("draws no bits; leave `hits` out" if _row.hits else "needs `hits`: what it draws")
        )
#: Those that draw bits of what a machine stores.
MACHINE_MODELS = tuple(name for name, row in FAULT_MODELS.items() if row.hits)


def machine_model(name: str) -> FaultModel:
    """The row of a model that draws bits of what a machine stores; FlexhycaError for others."""
    if name not in MACHINE_MODELS:
        raise FlexhycaError(
            f"{name!r} is no fault model of a machine; use {', '.join(MACHINE_MODELS)}"
        )
    return FAULT_MODELS[name]

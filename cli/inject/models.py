"""The table of fault models of ``flexhyca inject --faults``: to add one, add a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from . import ber, register
from .request import Request


@dataclass(frozen=True)
class FaultModel:
    """What random faults are drawn, by `run`. options : those of `inject` that it knows, by name.

    flows : option that asks for something else of the model -> the options known then. Those that
    all campaigns have (`CAMPAIGN`) are left out.
    """

    meaning: str
    options: frozenset[str]
    run: Callable[[Request], None]
    flows: Mapping[str, frozenset[str]] = field(default_factory=dict)


CAMPAIGN = frozenset({"trials", "out", "margin", "workers", "dask"})
_MACHINE = frozenset({"flips", "execution", "live", "scheme", "protect"})

MODELS: dict[str, FaultModel] = {
    "register": FaultModel(
        "transient flips in the flip-flops of the array and the DPPU",
        _MACHINE,
        partial(register.campaign, model="register"),
    ),
    "memory": FaultModel(
        "transient flips in words of the buffers",
        _MACHINE,
        partial(register.campaign, model="memory"),
    ),
    "control": FaultModel(
        "transient flips in position tables and registers, and in instructions",
        _MACHINE,
        partial(register.campaign, model="control"),
    ),
    "stuck": FaultModel(
        "bits of registers and buffers that are stuck at 0 or 1",
        _MACHINE | {"stuck_cycles"},
        partial(register.campaign, model="stuck"),
    ),
    "ber": FaultModel(
        "every stored bit of neurons and weights is wrong with a probability",
        ber.COMPARE,
        ber.run,
        {"--per-layer": ber.PER_LAYER, "--find-rate": ber.FIND_RATE},
    ),
}
#: What can be asked for -> options that mean something then; one that stands nowhere is for all.
MODES: dict[str, frozenset[str]] = {
    "--site": frozenset({"explain", "image", "scheme", "protect"}),
    **{f"--faults {name}": kind.options | CAMPAIGN for name, kind in MODELS.items()},
    **{
        option: known | CAMPAIGN for kind in MODELS.values() for option, known in kind.flows.items()
    },
}

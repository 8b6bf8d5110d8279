"""The table of fault models of ``flexhyca inject --faults``: to add one, add a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import inject_ber, inject_register
from .inject_request import Request


@dataclass(frozen=True)
class FaultModel:
    """What random faults are drawn, by `run`. options : those of `inject` that mean it, by name.

    An option that several models share stands in each of them; one that no model names is for all.
    """

    meaning: str
    options: frozenset[str]
    run: Callable[[Request], None]


_MACHINE = frozenset({"flips", "execution", "live"})

MODELS: dict[str, FaultModel] = {
    "register": FaultModel(
        "transient flips in the flip-flops of the array and the DPPU",
        _MACHINE,
        partial(inject_register.campaign, model="register"),
    ),
    "memory": FaultModel(
        "transient flips in words of the buffers",
        _MACHINE,
        partial(inject_register.campaign, model="memory"),
    ),
    "control": FaultModel(
        "transient flips in position tables and registers, and in instructions",
        _MACHINE,
        partial(inject_register.campaign, model="control"),
    ),
    "stuck": FaultModel(
        "bits of registers and buffers that are stuck at 0 or 1",
        _MACHINE | {"stuck_cycles"},
        partial(inject_register.campaign, model="stuck"),
    ),
    "ber": FaultModel(
        "every stored bit of neurons and weights is wrong with a probability",
        inject_ber.OPTIONS,
        inject_ber.run,
    ),
}
#: What --site takes.
SITE_OPTIONS = frozenset({"explain", "image"})

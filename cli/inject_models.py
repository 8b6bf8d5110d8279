"""The table of fault models of ``flexhyca inject --faults``: to add one, add a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


MODELS: dict[str, FaultModel] = {
    "register": FaultModel(
        "transient flips in the registers of the array",
        frozenset({"flips", "execution"}),
        inject_register.campaign,
    ),
    "ber": FaultModel(
        "every stored bit of neurons and weights is wrong with a probability",
        inject_ber.OPTIONS,
        inject_ber.run,
    ),
}
#: What --site takes.
SITE_OPTIONS = frozenset({"explain", "image"})

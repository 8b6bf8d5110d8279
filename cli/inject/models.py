"""What can be asked of each fault model (`faults.models`) with ``flexhyca inject --faults``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from ...faults.models import FAULT_MODELS
from ...tables import complete
from . import bit_errors, machine
from .request import Request


@dataclass(frozen=True)
class CampaignOptions:
    """How random faults of a model are asked for. options : of `inject` that it knows, by name.

    flows : option that asks for something else of the model -> the options known then. Those that
    all campaigns have (`CAMPAIGN`) are left out.
    """

    options: frozenset[str]
    run: Callable[[Request], None]
    flows: Mapping[str, frozenset[str]] = field(default_factory=dict)


CAMPAIGN = frozenset({"trials", "out", "margin", "workers", "dask"})
_MACHINE = frozenset(
    {
        *("flips", "execution", "live", "scheme", "protect"),
        *("unit", "register", "layers", "images_per_fault", "beside"),
    }
)

#: By the name of the fault model.
CAMPAIGNS: dict[str, CampaignOptions] = {
    "register": CampaignOptions(_MACHINE, partial(machine.campaign, model="register")),
    "memory": CampaignOptions(_MACHINE, partial(machine.campaign, model="memory")),
    "control": CampaignOptions(_MACHINE, partial(machine.campaign, model="control")),
    "stuck": CampaignOptions(_MACHINE | {"stuck_cycles"}, partial(machine.campaign, model="stuck")),
    "ber": CampaignOptions(
        bit_errors.COMPARE,
        bit_errors.run_bit_errors,
        {"--per-layer": bit_errors.PER_LAYER, "--find-rate": bit_errors.FIND_RATE},
    ),
}
complete(
    "FAULT_MODELS in faults/models.py", FAULT_MODELS, CAMPAIGNS, "cli/inject/models.py: CAMPAIGNS"
)
#: What can be asked for -> options that mean something then; one that stands nowhere is for all.
MODES: dict[str, frozenset[str]] = {
    "--site": frozenset({"explain", "image", "scheme", "protect"}),
    **{f"--faults {name}": own.options | CAMPAIGN for name, own in CAMPAIGNS.items()},
    **{
        option: known | CAMPAIGN
        for kind in CAMPAIGNS.values()
        for option, known in kind.flows.items()
    },
}

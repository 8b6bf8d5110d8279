"""What a sweep keeps of a run, and what protection adds to the unprotected machine.

Extra traffic is counted as the paper does: bytes beyond those of the base machine over the bytes of
the model's weights, each weight counted once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import Config, config_from_json
from ..isa.instructions import Kind
from ..simulator.run import Result
from ..tables import complete

CostRecord = Mapping[str, Any]  #: plain values that JSON keeps exactly

#: What extra traffic of a kind is put down to.
_CAUSES = {
    "position_table": "tables",
    "dppu_operand": "operands",
    "instruction": "instructions",
    "ifmap": "other",
    "weight": "other",
    "bias": "other",
    "ofmap": "other",
}
complete(
    "Kind in isa/instructions.py",
    [kind.name.lower() for kind in Kind],
    _CAUSES,
    "dse/costs.py: _CAUSES",
)


def base_of(config: Config) -> Config:
    """The same machine without DPPU, important neurons and redundant layers: what is compared with.

    Everything else stays.  Fields that mean nothing then get their defaults, so that points which
    differ in those alone share one base.
    """
    values = config.model_dump(mode="json")
    values["dppu"] = {"size": 0}
    values["protection"] |= {"s_th": 0.0, "s_policy": "uniform"}
    values["protection"] |= {"redundancy": "none", "redundant_layers": []}
    return config_from_json(values, config.name)


def cost_of(result: Result) -> CostRecord:
    """What is kept of a run."""
    return {
        "cycles": result.cycles,
        "macs": result.macs,
        "utilization": result.utilization,
        "important_neurons": result.important_neurons,
        "dram": result.dram,
        "array": {"busy": result.busy["array"], **result.stalls["array"]},
    }


def row(cost: CostRecord, base: CostRecord, weight_bytes: int) -> dict[str, int | float]:
    """The columns of one point: its own numbers, and those relative to `base`.

    `extra_other` is what remains of `extra_total`: ifmaps, weights and results that are moved more
    often, or less, because the buffers are shared with position tables.
    """
    extra = {kind: nbytes - base["dram"][kind] for kind, nbytes in cost["dram"].items()}
    split = dict.fromkeys(dict.fromkeys(_CAUSES.values()), 0)
    for kind, nbytes in extra.items():
        split[_CAUSES[kind]] += nbytes
    split["total"] = sum(extra.values())
    return {
        "total_cycles": cost["cycles"],
        "cycles_over_base": cost["cycles"] / base["cycles"],
        "utilization": cost["utilization"],
        "important_neurons": cost["important_neurons"],
        **{f"dram_{kind}": nbytes for kind, nbytes in cost["dram"].items()},
        "dram_total": sum(cost["dram"].values()),
        **{f"extra_{name}": nbytes / weight_bytes for name, nbytes in split.items()},
        **{f"array_{state}": cycles for state, cycles in cost["array"].items()},
    }

"""What is kept of a run, and what protection adds to the unprotected machine, within its limits.

Extra traffic is counted as the paper does: bytes beyond those of the base machine over the bytes of
the model's weights, each weight counted once; `Limits` may ask for other readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

from ..compiler.codegen.emitter import Masks
from ..compiler.compile_network import compile_network
from ..config import Config, config_from_json
from ..config.search import Bandwidth, Limits, Perf
from ..isa.instructions import Kind
from ..network.layers import Network
from ..simulator.run import Result, simulate
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


def timed(network: Network, config: Config, important: Masks | None, batch: int = 1) -> CostRecord:
    """Compile and time a network, whose numbers do not matter; CompileError where it cannot be."""
    return cost_of(simulate(compile_network(network, config, important, batch), values="none"))


class Costs(NamedTuple):
    """A run beside that of the unprotected machine."""

    own: CostRecord
    base: CostRecord
    weight_bytes: int
    depth: float = 1.0  #: of a PE's logic, over that of an unprotected one

    @property
    def extra_bytes(self) -> int:
        """DRAM traffic that protection adds."""
        return int(sum(self.own["dram"].values()) - sum(self.base["dram"].values()))

    def cycles(self, perf: Perf) -> float:
        """Cycles, or time, over those of the unprotected machine."""
        return _CYCLES[perf](self)

    def traffic(self, bandwidth: Bandwidth) -> float:
        """Extra traffic, relative to what `bandwidth` says."""
        return _TRAFFIC[bandwidth](self)


def _bytes_per_cycle(costs: Costs) -> float:
    own, base = (sum(c["dram"].values()) / c["cycles"] for c in (costs.own, costs.base))
    return float(own / base - 1)


#: What extra traffic is relative to (paper: weights in IV-B, Bandwidth_0 in Equation 2).
_TRAFFIC: dict[Bandwidth, Callable[[Costs], float]] = {
    "weights": lambda costs: costs.extra_bytes / costs.weight_bytes,
    "total": lambda costs: costs.extra_bytes / sum(costs.base["dram"].values()),
    "bytes_per_cycle": _bytes_per_cycle,
}
_CYCLES: dict[Perf, Callable[[Costs], float]] = {
    "cycles": lambda costs: costs.own["cycles"] / costs.base["cycles"],
    "time": lambda costs: costs.depth * costs.own["cycles"] / costs.base["cycles"],
}
for _names, _field, _handled in (
    (get_args(Bandwidth), "bandwidth", _TRAFFIC),
    (get_args(Perf), "perf", _CYCLES),
):
    complete(f"{_field} in config/search.py", _names, _handled, "dse/costs.py: _TRAFFIC, _CYCLES")


def room(limits: Limits, cycles: float, traffic: float) -> dict[str, float]:
    """Limit -> how far a design stays below it: what is negative breaks it; no limit, no entry.

    cycles, traffic : as the limits count them.
    """
    asked = {"cycles": (limits.cycles, cycles), "traffic": (limits.traffic, traffic)}
    return {name: most - own for name, (most, own) in asked.items() if most is not None}


def row(costs: Costs) -> dict[str, int | float]:
    """The columns of one point: its own numbers, and those relative to `base`.

    `extra_other` is what remains of `extra_total`: ifmaps, weights and results that are moved more
    often, or less, because the buffers are shared with position tables.
    """
    cost, base = costs.own, costs.base
    split = dict.fromkeys(dict.fromkeys(_CAUSES.values()), 0)
    for kind, nbytes in cost["dram"].items():
        split[_CAUSES[kind]] += nbytes - base["dram"][kind]
    return {
        "total_cycles": cost["cycles"],
        "cycles_over_base": costs.cycles("cycles"),
        "utilization": cost["utilization"],
        "important_neurons": cost["important_neurons"],
        **{f"dram_{kind}": nbytes for kind, nbytes in cost["dram"].items()},
        "dram_total": sum(cost["dram"].values()),
        **{f"extra_{name}": nbytes / costs.weight_bytes for name, nbytes in split.items()},
        "extra_total": costs.traffic("weights"),
        **{f"array_{state}": cycles for state, cycles in cost["array"].items()},
    }

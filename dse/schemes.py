"""What every protection scheme costs a network in cycles and traffic (paper, Fig. 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from .. import pool
from ..compiler.importance.ranking import Ranking
from ..config import Config
from ..config.schemes import SCHEMES
from ..errors import CompileError
from ..isa.protection import layer_copies
from .costs import CostRecord, row
from .grid import GridPoint
from .sweep import Context, Subject, job_of, measure_costs

BASE = "base"  # what the others are compared with


def compare(
    subject: Subject,
    base: Config,
    configs: Mapping[str, Config],
    ranking: Callable[[], Ranking],
    workers: int = 1,
    step: Callable[[int], object] = lambda count: None,
) -> list[dict[str, Any]]:
    """One row for each of `configs` (by scheme): its costs, and what they are beside `base`.

    ranking : of the neurons; asked for if a configuration has important ones. step : told when a
    run is done. Raises CompileError where the network does not fit the machine, or has none of the
    layers that are to be redundant.
    """
    machines = {c.config_hash: c for c in (base, *configs.values())}
    jobs = [job_of(GridPoint(c, "given", {})) for c in machines.values()]
    rankings = {"given": ranking()} if any(job.placement for job in jobs) else {}
    costs: dict[str, CostRecord] = {}
    context = Context(subject, rankings)
    with closing(pool.run_jobs(measure_costs, context, jobs, min(workers, len(jobs)))) as answers:
        for index, cost in answers:
            if "error" in cost:
                raise CompileError(cost["error"])
            costs[jobs[index].config.config_hash] = cost
            step(1)
    return [
        {
            "scheme": name,
            "paper": SCHEMES[name].paper,
            **row(costs[config.config_hash], costs[base.config_hash], subject.weight_bytes),
        }
        for name, config in configs.items()
    ]


def protected_share(subject: Subject, config: Config) -> tuple[list[str], float]:
    """The layers that `config` computes three times, and their share of the products."""
    network = subject.network_for(config)
    macs: Mapping[str, int] = {network.layers[i].name: network.macs(i) for i in network.weights}
    chosen = [name for name in macs if layer_copies(config, name) > 1]
    return chosen, sum(macs[name] for name in chosen) / sum(macs.values())

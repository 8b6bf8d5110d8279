"""A key holds what its stage depends on: everything of that, and nothing else."""

from typing import Any

import numpy as np
import pytest

from flexhyca import api
from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.importance.placement import random_ranking
from flexhyca.compiler.importance.ranking import important_neurons
from flexhyca.compiler.mapping.plan import tile_ids
from flexhyca.compiler.shapes import shapes_of
from flexhyca.config import Arithmetic, Config, choices, load_config
from flexhyca.config.fields import known_keys, numeric_limits
from flexhyca.dse.costs import cost_of
from flexhyca.dse.keys import FIELDS, accuracy_dependencies, field_values, mask_of
from flexhyca.errors import ConfigError, FlexhycaError
from flexhyca.faults.ber.options import BerOptions
from flexhyca.hdl.area.machine import machine_area
from flexhyca.simulator.run import simulate

BASE = load_config("flexhyca-32x32", ["protection.s_policy=tile", "protection.nb_th=2"])
OTHERS: dict[str, list[Any]] = {
    "protection.redundant_layers": [["conv1"]],
    "name": ["another"],
    "dppu.width": [2, 13],
    "protection.s_th": [0.02],
    "arithmetic.acc_bits": [22, 26],
    "dram.size_bytes": [1 << 30],
}


def others(name: str) -> list[Config]:
    """Machines that differ in one field."""
    limits = numeric_limits(name)
    values = OTHERS.get(name) or list(choices(name))
    if not values and limits is not None:
        now: Any = BASE
        for part in name.split("."):
            now = getattr(now, part)
        values = [now + 1, now - 1, 2 * now, now // 2, *limits]
    found = []
    for value in values or ["true", "false"]:
        try:
            config = load_config(
                "flexhyca-32x32",
                ["protection.s_policy=tile", "protection.nb_th=2", f"{name}={value}"],
            )
        except ConfigError:
            continue
        if config.canonical_json() != BASE.canonical_json() or name == "name":
            found.append(config)
    return found[:3]


def timing(config: Config) -> dict[str, Any]:
    network = shapes_of(api.load_model("digits"), config.arithmetic, config.protection.q_scale)
    important = important_neurons(random_ranking(network, 1), network, config)
    program = compile_network(network, config, important, 1)
    return dict(cost_of(simulate(program, values="none")))


@pytest.mark.parametrize("name", known_keys())
def test_a_stage_depends_on_its_fields_alone(name: str) -> None:
    cost, area = timing(BASE), machine_area(BASE)
    for config in others(name):
        try:
            other = timing(config)
        except FlexhycaError:
            continue
        if name not in FIELDS["timing"]:
            assert other == cost
        if name not in FIELDS["area"]:
            assert machine_area(config) == area
        for stage in ("timing", "area", "network"):
            same = field_values(config, FIELDS[stage]) == field_values(BASE, FIELDS[stage])
            assert same == (name not in FIELDS[stage])
        if mask_of(config, "r") == mask_of(BASE, "r"):
            network = shapes_of(api.load_model("digits"), Arithmetic(), 0)
            for layer in network.weights:
                ids = tile_ids(network, layer, config)
                assert np.array_equal(ids, tile_ids(network, layer, BASE))


def test_equal_protection_makes_masks_idle() -> None:
    def of(*changes: str, **options: Any) -> dict[str, Any]:
        config = load_config("flexhyca-32x32", changes)
        return accuracy_dependencies(config, "network", "ranking", BerOptions(**options))

    equal = "protection.nb_th=2"
    assert of(equal) == of(equal, "protection.s_th=0.2", "dppu.size=8")
    assert of(equal) == of(equal, "protection.s_th=0", "dppu.size=0")
    assert of() != of("protection.s_th=0.2")
    assert of() == of("dppu.size=8", "dppu.data_reuse=dram", "protection.pe_policy=direct")
    assert of(target="acc") != of("protection.pe_policy=direct", target="acc")
    assert of(equal, target="acc") != of(equal, "protection.s_th=0.2", target="acc")
    nothing = ("protection.s_th=0", "dppu.size=0")
    assert of(*nothing, "protection.ib_th=4") == of(*nothing, "protection.ib_th=2")

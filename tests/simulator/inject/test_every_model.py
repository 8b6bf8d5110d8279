"""The accounting identities on every shipped network in every mode of the machine.

`simulate` checks them itself and raises InternalError; here they are provoked.
"""

import pytest

from flexhyca import api
from flexhyca.compiler.model import load_model
from flexhyca.compiler.networks import NETWORKS
from flexhyca.compiler.shapes import shapes_of
from flexhyca.config import choices, load_config
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import OVERLAP, STATIONARY

MODES = {
    **{mode: [f"dppu.data_reuse={mode}"] for mode in choices("dppu.data_reuse")},
    **{model: [f"dram.model={model}"] for model in choices("dram.model")},
    "double": [f"array.{OVERLAP['os']}=true"],
    **{
        f"{flow}, {OVERLAP[flow]} {on}": [
            f"array.dataflow={flow}",
            f"array.{OVERLAP[flow]}={on}",
            "dppu.size=0",
            "protection.s_th=0.0",
        ]
        for flow in STATIONARY
        for on in ("false", "true")
    },
}


def _check(name: str) -> None:
    config = load_config("flexhyca-32x32")
    network = shapes_of(load_model(name), config.arithmetic)
    ranking = api.place_neurons(network, "random")
    macs = sum(network.macs(i) for i in range(len(network.layers)))
    for mode, overrides in MODES.items():
        config = load_config("flexhyca-32x32", overrides)
        masks = api.select_important(ranking, network, config)
        result = simulate(api.compile(network, config, masks), values="none")
        assert result.macs == macs, mode
        assert result.layers["cycles"].sum() == result.cycles, mode
        assert result.important_neurons == sum(int(m.sum()) for m in masks.values()), mode
        for engine, stalls in result.stalls.items():
            assert result.busy[engine] + sum(stalls.values()) == result.cycles, (mode, engine)


@pytest.mark.parametrize("name", ["digits", "resnet20", "lenet5"])
def test_identities_of_small_networks(name):
    _check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"digits", "resnet20", "lenet5"}))
def test_identities_of_large_networks(name):
    _check(name)

"""Estimates of mappings, with which they are compared, are near the cycle model's time."""

import pytest

from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.mapping.plan import LayerRequest
from flexhyca.compiler.mapping.rank import mappings
from flexhyca.config import load_config
from flexhyca.config.mappings import WantedMapping
from flexhyca.simulator.run import simulate
from flexhyca.tests.compiler.mapping.test_more_never_hurts import layer_of
from flexhyca.tests.support import OVERLAP


@pytest.mark.parametrize("overlaps", ["false", "true"])
@pytest.mark.parametrize("dataflow", OVERLAP)
@pytest.mark.parametrize(
    ("sides", "channels", "kernel"),
    [
        ((28, 28), (64, 96), 3),
        ((6, 6), (96, 200), 1),  # streams shorter than 2U + H - 3
        ((28, 28), (36, 300), 1),  # folds of fewer rows than the array has
        ((40, 40), (16, 96), 1),  # one fold a tile
    ],
)
def test_estimates_of_the_arrays_time(dataflow, overlaps, sides, channels, kernel):
    own = f"array.dataflow={dataflow}", f"array.{OVERLAP[dataflow]}={overlaps}"
    config = load_config("base-32x32", [*own, "dram.bytes_per_cycle=1024", "vec.lanes=4096"])
    network = layer_of(*sides, *channels, kernel, 1, config.arithmetic)
    (best,) = mappings(LayerRequest.of(network, 0, config, 1).on_machine, 1)
    wanted = WantedMapping(**best.mapping._asdict())
    result = simulate(compile_network(network, config, {}, 1, {"*": wanted}), values="none")
    lost = result.cycles - result.busy["array"]  # before the first operands and after the last sum
    assert abs(best.cycles - result.cycles) < 0.04 * result.busy["array"] + lost

"""What the chosen mappings move, beside the fewest bytes of all mappings of a layer.

    python benchmarks/mapping_traffic.py [--layers]

For every shipped network on every shipped machine that differs in what a mapping depends on: the
traffic of its conv and linear layers, the fewest bytes that any of all enumerated mappings moves
(whatever its cycles), what every mapping moves (each operand and result once), how many layers
exceed 1.3 times the fewest, and by how many of the layer's cycles the fastest mapping within 1.3
times is slower. --layers: a row for each layer that exceeds it. Takes minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from flexhyca import api
from flexhyca.compiler.mapping.choose import best_candidates
from flexhyca.compiler.mapping.explain import LayerChoice, mapping_choices
from flexhyca.compiler.mapping.plan import layer_requests
from flexhyca.compiler.mapping.rank import fewest_cycles
from flexhyca.compiler.networks import NETWORKS
from flexhyca.config import Config, load_config
from flexhyca.network.layers import LayerOp

MACHINES: dict[str, tuple[str, ...]] = {
    "base-32x32": (),
    "gemmini-16x16": (),
    "vta-1x16x16": (),
    "tpu-v1-like": (),
    "base-32x32 ws": ("array.dataflow=ws",),
    "base-32x32 8x128": ("array.rows=8", "array.cols=128"),
}
FACTOR = 1.3


class Layer(NamedTuple):
    """A layer's choice, and how much slower the fastest mapping within FACTOR of the least is."""

    choice: LayerChoice
    slower: float

    @property
    def ratio(self) -> float:
        return self.choice.traffic / self.choice.least


def layers(name: str, config: Config) -> Iterator[Layer]:
    """The conv and linear layers of a network."""
    network = api.build(name, config, timing_only=True, placement="random").network
    requests = layer_requests(network, config, {}, 1)
    for request, choice in zip(requests, mapping_choices(requests, network), strict=True):
        if request.geometry.layer.op == LayerOp.CONV:
            machine = request.on_machine
            best = min(rated.cycles for rated in best_candidates(machine))
            lean = fewest_cycles(machine, FACTOR * choice.least)
            yield Layer(choice, max(0.0, lean / best - 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", action="store_true", help="a row for each layer beyond it")
    args = parser.parse_args()
    print(
        f"| machine | network | MB | fewest | each once | layers | beyond {FACTOR} | worst | "
        "within it, cycles of the layer |\n|---|---|---|---|---|---|---|---|---|"
    )
    for machine, sets in MACHINES.items():
        config = load_config(machine.split()[0], list(sets))
        for name in NETWORKS:
            own = list(layers(name, config))
            beyond = [layer for layer in own if layer.ratio > FACTOR]
            sums = (
                sum(getattr(layer.choice, field) for layer in own) / 1e6
                for field in ("traffic", "least", "compulsory")
            )
            cells = [*(f"{n:.2f}" for n in sums), len(own), len(beyond)]
            cells.append(f"{max(layer.ratio for layer in own):.2f}")
            cells.append(", ".join(f"+{100 * layer.slower:.0f} %" for layer in beyond) or "-")
            print(f"| {machine} | {name} | " + " | ".join(map(str, cells)) + " |", flush=True)
            for layer in beyond if args.layers else ():
                c = layer.choice
                print(f"  {c.name}: {c.traffic} bytes, fewest {c.least}, {c.mapping}")


if __name__ == "__main__":
    main()

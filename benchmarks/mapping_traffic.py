"""What the chosen mappings move, beside the fewest bytes of all mappings of a layer.

    python benchmarks/mapping_traffic.py [--layers] [--objective cycles|traffic]

For every shipped network on every shipped machine that differs in what a mapping depends on: the
traffic of its conv and linear layers, the fewest bytes that any of all enumerated mappings moves
(whatever its cycles), what every mapping moves (each operand and result once: the bound), how many
layers exceed 1.3 times the fewest, and how much slower than the chosen one, on the cycle model, the
fastest mapping is that does not. --layers: a row for each layer that exceeds it. Takes minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from flexhyca import api
from flexhyca.compiler.mapping.choose import cycles_alone
from flexhyca.compiler.mapping.explain import LayerChoice, mapping_choices
from flexhyca.compiler.mapping.plan import layer_requests
from flexhyca.compiler.mapping.rank import LEAN, fastest
from flexhyca.compiler.networks import NETWORKS
from flexhyca.config import Config, load_config

MACHINES: dict[str, tuple[str, ...]] = {
    "base-32x32": (),
    "gemmini-16x16": (),
    "vta-1x16x16": (),
    "tpu-v1-like": (),
    "base-32x32 ws": ("array.dataflow=ws",),
    "base-32x32 8x128": ("array.rows=8", "array.cols=128"),
}
#: Mappings within LEAN of the fewest bytes that are timed for each layer that exceeds it.
TIMED = 4


class Layer(NamedTuple):
    """A layer's choice, and how much slower the fastest mapping within LEAN of the least is."""

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
        if choice.mapping is None:
            continue
        machine, most, slower = request.on_machine, LEAN * choice.least, 0.0
        if choice.traffic > most:
            own = cycles_alone(machine, choice.mapping)
            lean = fastest(machine, TIMED, most)
            slower = min(cycles_alone(machine, rated.mapping) for rated in lean) / own - 1
        yield Layer(choice, slower)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", action="store_true", help="a row for each layer beyond it")
    parser.add_argument("--objective", choices=["cycles", "traffic"], default="cycles")
    args = parser.parse_args()
    print(
        f"| machine | network | MB | fewest | each once | layers | beyond {LEAN} | worst | "
        "within it, cycles of such a layer |\n|---|---|---|---|---|---|---|---|---|"
    )
    for machine, sets in MACHINES.items():
        own_sets = [*sets, f"mapping.objective={args.objective}"]
        config = load_config(machine.split()[0], own_sets)
        for name in NETWORKS:
            own = list(layers(name, config))
            beyond = [layer for layer in own if layer.ratio > LEAN]
            sums = (
                sum(getattr(layer.choice, field) for layer in own) / 1e6
                for field in ("traffic", "least", "compulsory")
            )
            cells = [*(f"{n:.2f}" for n in sums), len(own), len(beyond)]
            cells.append(f"{max(layer.ratio for layer in own):.2f}")
            slower = [f"{100 * own:+.1f} %" for own in sorted(layer.slower for layer in beyond)]
            cells.append(" to ".join(dict.fromkeys([*slower[:1], *slower[-1:]])) or "-")
            print(f"| {machine} | {name} | " + " | ".join(map(str, cells)) + " |", flush=True)
            for layer in beyond if args.layers else ():
                c = layer.choice
                print(f"  {c.name}: {c.traffic} bytes, fewest {c.least}, {c.mapping}")


if __name__ == "__main__":
    main()

"""ResNet-50 on one core pair: simulation against plain float forward passes, in one run.

Usage: python benchmarks/bench_resnet50.py
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import simpy

import flexhyca as fh
from flexhyca import api
from flexhyca.compiler.networks import network as entry
from flexhyca.compiler.networks.random_weights import draw_weights
from flexhyca.compiler.shapes import shapes_of
from flexhyca.config import Arithmetic
from flexhyca.network.functional import Functional
from flexhyca.simulator.cycles.engines import CycleModel

ROUNDS = 5


def seconds(action: Callable[[], object]) -> float:
    """One timed run."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def ratio(one: Callable[[], object], two: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of `one`, and the median ratio one/two of neighbouring runs."""
    one(), two()
    pairs = [(seconds(one), seconds(two)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in pairs), statistics.median(a / b for a, b in pairs)


def main() -> None:
    import torch

    with torch.device("meta"):
        module = entry("resnet50").build()
    draw_weights(module.to_empty(device="cpu"), (3, 224, 224), 0)
    module.eval()
    image = torch.zeros(1, 3, 224, 224)

    def forward() -> object:
        with torch.inference_mode():
            return module(image)

    config = fh.load_config("flexhyca-32x32")
    model = fh.load_model("resnet50")
    shapes = shapes_of(model, Arithmetic())
    masks = api.select_important(api.place_neurons(shapes, "random"), shapes, config)
    program = api.compile(shapes, config, masks)
    compiling, compile_ratio = ratio(lambda: api.compile(shapes, config, masks), forward)
    timing, timing_ratio = ratio(lambda: fh.simulate(program, values="none"), forward)
    tiles = int(fh.simulate(program, values="none").layers["tiles"].sum())
    print(f"timing only / float forward, batch 1:  {timing_ratio:5.2f}  ({timing:.2f} s; limit 6)")
    reference, reference_ratio = ratio(
        lambda: fh.simulate(program, values="none", cycle_model="simpy"), forward
    )
    print(f"the same under SimPy (reference):      {reference_ratio:5.2f}  ({reference:.2f} s)")
    print(f"compilation / float forward:           {compile_ratio:5.2f}  ({compiling:.2f} s)")

    network = fh.quantise(model, config)
    inputs = np.zeros((1, 224, 224, 3), np.int8)
    engine = Functional(network)

    def with_values() -> object:
        fh.simulate(program, values="none")
        return engine.run(inputs)

    both, value_ratio = ratio(with_values, forward)
    print(f"timing and bit-exact values / forward: {value_ratio:5.2f}  ({both:.2f} s; limit 15)")

    events = 0
    cycle_model = CycleModel(program)
    wake = cycle_model.clock.wake

    def counted(rank: int, event: simpy.Event, cycles: int = 0) -> None:
        nonlocal events
        events += 1
        wake(rank, event, cycles)

    cycle_model.clock.wake = counted  # type: ignore[method-assign]
    cycle_model.run()
    print(f"SimPy events a tile: {events / tiles:.1f} ({events} events, {tiles} tiles)")
    for batch in (1, 2, 4):
        larger = api.compile(shapes, config, masks, batch)
        count = int((larger.columns["op"] == 2).sum())
        best = min(seconds(lambda p=larger: fh.simulate(p, values="none")) for _ in range(3))
        print(f"batch {batch}: {count} tiles, {best:.2f} s, {best / count * 1e6:.0f} us a tile")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of this process, quantising included: {peak:.2f} GiB")


if __name__ == "__main__":
    main()

"""Speed of the simulator, as ratios within one run: every pair is timed in turn, medians count.

Usage: python benchmarks/bench_simulator.py
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import statistics
import time
from collections.abc import Callable

import numpy as np

import flexhyca as fh
from flexhyca.compiler.execute import run_graph as run_float
from flexhyca.config import Arithmetic
from flexhyca.network.functional import Functional
from flexhyca.simulator.array.os_array import os_tile
from flexhyca.simulator.array.timing import os_tile_cycles

ROUNDS = 7


def paired(one: Callable[[], object], two: Callable[[], object]) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the ratios one/two of neighbouring runs."""
    one(), two()
    a, b = [], []
    for _ in range(ROUNDS):
        for action, times in ((one, a), (two, b)):
            start = time.perf_counter()
            action()
            times.append(time.perf_counter() - start)
    ratio = statistics.median(x / y for x, y in zip(a, b, strict=True))
    return statistics.median(a), statistics.median(b), ratio


def main() -> None:
    config = fh.load_config("flexhyca-32x32")
    model = fh.load_model("resnet20")
    network = fh.quantise(model, config)
    important = fh.select_important(fh.rank_neurons(model), network, config)
    program = fh.compile(network, config, important)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 32, 32, 3), np.uint8)
    inputs = fh.quantise_images(model, network, images)

    import torch

    from flexhyca.compiler.data import normalise

    torch.set_num_threads(1)
    floats = torch.from_numpy(normalise(images, model.mean, model.std))
    with torch.inference_mode():
        forward = lambda n: lambda: run_float(model.graph, floats[:n])  # noqa: E731
        sim, _, ratio = paired(lambda: fh.simulate(program, values="none"), forward(1))
    print(f"resnet20, timing only / float forward of one image:  {ratio:6.2f}  ({sim:.4f} s)")
    tiles = int(fh.simulate(program, values="none").layers["tiles"].sum())
    print(f"  {len(program.text)} instructions, {tiles} tiles, {sim / tiles * 1e6:.0f} us a tile")
    engine = Functional(program.network)
    with torch.inference_mode():
        val, _, ratio = paired(lambda: engine.run(inputs), forward(64))
    print(f"resnet20, bit-exact values / float, 64 images:       {ratio:6.2f}  ({val:.4f} s)")

    act, wgt = (rng.integers(-128, 128, (32, 1024)).astype(np.int8) for _ in range(2))
    bias = np.zeros(32, np.int32)
    step = lambda: os_tile(act, wgt, bias, rows=32, cols=32, arithmetic=Arithmetic())  # noqa: E731
    product = lambda: act.astype(np.int32) @ wgt.astype(np.int32).T  # noqa: E731
    slow, _, ratio = paired(step, product)
    speed = os_tile_cycles(1024, 32, 32) * 1024 / slow / 1e9
    print(f"32x32 tile, register-true stepper / NumPy product:   {ratio:6.2f}  ({slow:.4f} s)")
    print(f"  {speed:.2f} G PE-cycles/s with fault hooks in place")


if __name__ == "__main__":
    main()

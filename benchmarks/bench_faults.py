"""Speed of exact fault corrections against stepping the registers, as ratios within one run.

    python benchmarks/bench_faults.py [--faults 200] [--json FILE]

ResNet-20 on the base-32x32 machine, with the CIFAR-10 images and weights in the folder
FLEXHYCA_DATA, else random ones.  Single flips of the array's and skew lines' registers, drawn in
proportion to their exposure: of all bit-cycles, and of those in which the bit is still used.  Block
by block, the faults are executed in turn by

    delta      FaultRun: corrections of the tile's sums, and the difference followed until it ends
    recomputed the stepper on the faulted tile; all later layers by the functional engine
    stopped    the same, but only where the tile's sums came out wrong
    followed   the stepper on the faulted tile; then the difference followed as by delta
    reference  the whole network on the machine, every register of every tile stepped (a few faults)

and all give the same outputs, which is checked.  Beside it, what a trial of a campaign takes, whose
faults meet an image each at random: drawing, the fault-free runs of the images, the row.

Seconds are of CPU, of one thread.  Ratios are of sums over blocks of faults, medians over the
blocks (reference: over the faults; campaign: one run).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from bench_ber import resnet20
from numpy.typing import NDArray

import flexhyca as fh
from flexhyca.config import Arithmetic
from flexhyca.faults.machine.experiment import MachineFaults
from flexhyca.faults.machine.population import Population
from flexhyca.isa.program import Program
from flexhyca.isa.program_file import save
from flexhyca.network.fixedpoint import vector_unit
from flexhyca.network.functional import Functional
from flexhyca.simulator.array.os_array import os_tile
from flexhyca.simulator.array.timing import os_tile_cycles
from flexhyca.simulator.inject.fault_plan import make_plan
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import Site

BLOCKS = 10
WAYS = ("delta", "recomputed", "stopped", "followed")
Int8 = NDArray[np.int8]


class Stepped:
    """The faulted tile stepped, and a fast path after it."""

    def __init__(self, run: FaultRun) -> None:
        import torch

        self.run, self.network = run, run.network
        self.engine = Functional(run.network)
        self.golden = {
            t: torch.from_numpy(run.difference.golden(t)[None].copy())
            for t in range(len(run.network.tensors))
        }

    def tile(self, site: Site) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
        """Layer, wrong sums (flat elements of its output), and what they are wrong by."""
        run, config = self.run, self.run.program.config
        ((key, (flips,)),) = make_plan([site], run.spans).flips.items()
        span = run.spans.own[key[0]][key[1]]
        x = run.difference.golden(self.network.layers[span.layer].input)
        own = run.evaluate.operands(span, x)
        sums, _ = os_tile(
            own.act,
            own.wgt,
            own.start.astype(np.int32),
            rows=config.array.rows,
            cols=config.array.cols,
            arithmetic=self.network.arithmetic,
            flips=flips,
        )
        true = run.difference.accumulators(span.layer).reshape(-1)
        channels = self.network.tensors[self.network.layers[span.layer].output].c
        elements = (span.m0 + np.arange(span.m))[:, None] * channels + span.n0 + np.arange(span.n)
        by = sums - true[elements]
        wrong = np.nonzero(by)
        return span.layer, elements[wrong], by[wrong].astype(np.int64)

    def recompute(self, index: int, at: NDArray[np.int64], by: NDArray[np.int64]) -> Int8:
        """Requantise the layer's wrong sums, and run all later layers."""
        import torch

        network, a = self.network, self.network.arithmetic
        layer, values = network.layers[index], dict(self.golden)
        sums = self.run.difference.accumulators(index).reshape(-1)[at] + by
        other = values[layer.residual].numpy().reshape(-1)[at] if layer.residual >= 0 else None
        out = values[layer.output].clone()
        out.view(-1).numpy()[at] = vector_unit(sums, layer, a, other)
        values[layer.output] = out
        with torch.inference_mode():
            for i in range(index + 1, len(network.layers)):
                later = network.layers[i]
                residual = values[later.residual] if later.residual >= 0 else None
                values[later.output] = self.engine.layer(i, values[later.input], residual)
        output: Int8 = values[network.output].numpy()[0]
        return output

    def follow(self, index: int, at: NDArray[np.int64], by: NDArray[np.int64]) -> Int8:
        """The difference carried on, as `delta` does it."""
        difference = self.run.difference
        difference.advance(index)
        difference.advance(index + 1, at, by)
        output: Int8 = difference.finish().copy()
        difference.reset()
        return output


def execute(run: FaultRun, stepped: Stepped, sites: list[Site]) -> dict[str, float]:
    """Seconds of each way to execute a block of faults; exits where the outputs differ."""
    clock = time.thread_time
    start = clock()
    outcomes = [run.run([site]) for site in sites]
    delta = clock() - start
    start = clock()
    tiles = [stepped.tile(site) for site in sites]
    tile = clock() - start
    again, rest = [], []
    for each in tiles:
        start = clock()
        again.append(stepped.recompute(*each))
        rest.append(clock() - start)
    start = clock()
    also = [stepped.follow(*each) for each in tiles]
    follow = clock() - start
    for site, outcome, *others in zip(sites, outcomes, again, also, strict=True):
        if not all(np.array_equal(outcome.output, other) for other in others):
            sys.exit(f"{site}: the outputs differ")
    wrong = sum(t for t, (_, at, _) in zip(rest, tiles, strict=True) if len(at))
    seconds = (delta, tile + sum(rest), tile + wrong, tile + follow)
    return dict(zip(WAYS, seconds, strict=True))


def campaign(program: Program, images: Int8, live: bool, trials: int) -> float:
    """Seconds of a trial, the mean of `trials` after a few others."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "program.fhx"), Path(folder, "images.npy")
        save(program, paths[0])
        np.save(paths[1], images, allow_pickle=False)
        experiment = MachineFaults(*paths, seed=0, live=live)
        experiment.run(range(trials, trials + 20))
        start = time.thread_time()
        experiment.run(range(trials))
        return (time.thread_time() - start) / trials


def measure(
    program: Program, images: Int8, live: bool, faults: int, whole: int, trials: int
) -> dict[str, Any]:
    """One row of the result: mean seconds of each way and the ratios to delta."""
    image = images[0]
    run = FaultRun(program, image)
    stepped, rng = Stepped(run), np.random.default_rng(0)
    population = Population(run.spans, "register", live)
    sites = [population.draw(rng) for _ in range(faults)]
    execute(run, stepped, sites[:20])  # kernels are compiled, code is warm
    execute(run, stepped, list({(s.unit, s.register): s for s in sites}.values()))
    sums = [execute(run, stepped, sites[i::BLOCKS]) for i in range(BLOCKS)]
    mean = {way: sum(block[way] for block in sums) / faults for way in WAYS}
    masked = Counter(run.run([site]).masked or "no" for site in sites)
    run_reference(program, image, sites[:1])
    times = []
    for site in sites[:whole]:
        start = time.thread_time()
        end = run_reference(program, image, [site])
        times.append(time.thread_time() - start)
        if not np.array_equal(end.output, run.run([site]).output):
            sys.exit(f"{site}: the outputs differ")
    others = {
        "reference": statistics.median(times),
        "campaign": campaign(program, images, live, trials),
    }
    return {
        "sites": "live" if live else "all",
        "faults": faults,
        "faults_per_second": 1 / mean["delta"],
        "seconds": mean | others,
        "ratios": {way: statistics.median(s[way] / s["delta"] for s in sums) for way in WAYS[1:]}
        | {way: seconds / mean["delta"] for way, seconds in others.items()},
        "masked": dict(masked.most_common()),
    }


def stepper_speed() -> float:
    """PE-cycles a second of the register-true stepper on a 32x32 tile of 1024 operands."""
    rng = np.random.default_rng(0)
    act, wgt = (rng.integers(-128, 128, (32, 1024)).astype(np.int8) for _ in range(2))
    bias, times = np.zeros(32, np.int32), []
    for _ in range(9):
        start = time.thread_time()
        os_tile(act, wgt, bias, rows=32, cols=32, arithmetic=Arithmetic())
        times.append(time.thread_time() - start)
    return os_tile_cycles(1024, 32, 32) * 1024 / statistics.median(times)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--faults", type=int, default=200, help="of each kind of sites")
    parser.add_argument("--whole", type=int, default=5, help="of them stepped as a whole, too")
    parser.add_argument("--trials", type=int, default=5000, help="of a campaign")
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, data, _ = resnet20()
    config = fh.load_config("base-32x32")
    network = fh.quantise(model, config, data)
    program = fh.compile(network, config)
    images = fh.quantise_images(model, network, data.images)
    counts = args.faults, args.whole, args.trials
    rows = [measure(program, images, live, *counts) for live in (False, True)]
    speed = stepper_speed()
    for row in rows:
        print(f"resnet20, {row['faults']} flips in {row['sites']} bit-cycles of array registers:")
        print(f"  delta: {row['faults_per_second']:.0f} faults/s; masked by {row['masked']}")
        for way, ratio in row["ratios"].items():
            print(f"  {way:10} / delta: {ratio:7.1f}  ({row['seconds'][way] * 1e3:.2f} ms a fault)")
    print(f"register-true stepper: {speed / 1e9:.2f} G PE-cycles/s")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "pe_cycles_per_second": speed}, indent=1))


if __name__ == "__main__":
    main()

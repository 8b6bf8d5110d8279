"""Cost of a bit error campaign: seconds an image against a plain float forward of the same batch.

    python benchmarks/bench_ber.py [--images 100] [--patterns 9] [--threads 1] [--json FILE]

ResNet-20 with the CIFAR-10 images and weights in the folder FLEXHYCA_DATA, else random ones (the
time is the same).  A trial is the campaign's own: it draws a pattern of wrong bits of all weights
and of every neuron of every image, builds the faulty weights, infers the images and compares
classes.  It is timed in turn with the torch module in float32, NCHW and channels last, warmed up;
the ratio is to the faster one of the same round, and the median over the patterns counts.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import flexhyca as fh
from flexhyca.compiler.data import Dataset, normalise
from flexhyca.compiler.networks import network as entry
from flexhyca.config.schemes import with_scheme
from flexhyca.faults.ber.experiment import BerFaults
from flexhyca.faults.ber.options import BerOptions, Case
from flexhyca.isa.program_file import save

CASES = (("base", 1e-4), ("tmr_cl", 1e-4), ("base", 1e-3), ("tmr_cl", 1e-3))


def resnet20() -> tuple[fh.Model, Dataset, Any]:
    """Model, images and the torch module with the same weights."""
    import torch

    module = entry("resnet20").build().eval()
    folder = Path(os.environ.get("FLEXHYCA_DATA", "nowhere"))
    weights, images = folder / "w_cifar10_resnet20_fp32.npz", folder / "cifar10_test_jpeg_1000.npz"
    if not weights.is_file():
        noise = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), np.uint8)
        return fh.load_model("resnet20"), Dataset("noise", noise, np.zeros(1000, np.int64)), module
    with np.load(weights) as arrays:
        state = {k: torch.from_numpy(v) for k, v in arrays.items() if v.dtype.kind in "fi"}
    module.load_state_dict(state)
    model = fh.load_model("resnet20", weights=weights)
    return model, fh.load_data(model, images), module


def seconds(action: Callable[[], object]) -> float:
    """One timed run."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def campaigns(folder: Path, model: fh.Model, data: Dataset, images: int) -> list[BerFaults]:
    """A campaign of one case each, its files in `folder`."""
    assert data.labels is not None
    labels = folder / "labels.npy"
    np.save(labels, data.labels)
    ranking = fh.rank_neurons(model, data)
    options, found = BerOptions(images_per_pattern=images), []
    for number, (scheme, ber) in enumerate(CASES):
        config = with_scheme(fh.load_config("flexhyca-32x32"), scheme)
        network = fh.quantise(model, config, data)
        program, inputs = folder / f"{number}.program", folder / f"{number}.npy"
        important = fh.select_important(ranking, network, config)
        save(fh.compile(network, config, important), program)
        np.save(inputs, fh.quantise_images(model, network, data.images))
        found.append(BerFaults([program], [Case(scheme, ber)], [inputs], labels, 0, options))
    return found


def measure(
    campaign: BerFaults, plain: Sequence[Callable[[], object]], images: int, patterns: int
) -> dict[str, Any]:
    """One row of the result. plain : float forward passes, NCHW and channels last."""
    for warm in (*plain, *plain, lambda: campaign.run([0])):
        warm()
    rounds = [
        (seconds(lambda n=n: campaign.run([n])), *map(seconds, plain))
        for n in range(1, patterns + 1)
    ]
    row = campaign.run([1])[0]
    trial, nchw, nhwc = (statistics.median(times) for times in zip(*rounds, strict=True))
    return {
        "scheme": row["scheme"],
        "ber": row["ber"],
        "ratio": statistics.median(a / min(b, c) for a, b, c in rounds),
        "campaign_ms_per_image": trial / images * 1e3,
        "float_nchw_ms_per_image": nchw / images * 1e3,
        "float_channels_last_ms_per_image": nhwc / images * 1e3,
        "wrong_neuron_words": row["neuron_words"],
        "wrong_weight_words": row["weight_words"],
        "images_per_pattern": images,
        "patterns": patterns,
    }


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=100, help="that share a pattern of weights")
    parser.add_argument("--patterns", type=int, default=9, help="timed patterns of each case")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, data, module = resnet20()
    floats = torch.from_numpy(normalise(data.images[: args.images], model.mean, model.std))
    other = copy.deepcopy(module).to(memory_format=torch.channels_last)
    last = floats.to(memory_format=torch.channels_last)
    plain = (lambda: module(floats), lambda: other(last))
    with tempfile.TemporaryDirectory() as folder:
        own = campaigns(Path(folder), model, data, args.images)
        with torch.inference_mode():
            rows = [measure(each, plain, args.images, args.patterns) for each in own]
    print(
        f"resnet20, {args.images} images per weight pattern (one batch for float), {args.patterns} "
        f"patterns, {args.threads} thread(s)"
    )
    print(f"{'scheme':8} {'ber':>6}  campaign/float  ms/image: campaign  NCHW  channels last")
    for r in rows:
        print(
            f"{r['scheme']:8} {r['ber']:6.0e}  {r['ratio']:14.2f}  "
            f"{r['campaign_ms_per_image']:18.3f}  {r['float_nchw_ms_per_image']:4.2f}  "
            f"{r['float_channels_last_ms_per_image']:13.2f}"
        )
    if args.json:
        args.json.write_text(json.dumps({"threads": args.threads, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

"""Peak memory of large networks, each case in a process of its own.

    python benchmarks/memory.py [--images N] [MODEL ...]

`timing` and `values` are `flexhyca simulate`, without images and with N of them (noise, labelled),
`quantise` and `rank` the stages of those names alone, on the noise that stands in for images.
Numbers are resident bytes / 1e9; VGG-16's float weights are 0.55 of them, torch and its exporter
0.35.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

#: case -> what runs, with `name` (the model) and `images` (an npz file) in scope.
CASES = {
    "timing": "cli('simulate', name)",
    "quantise": "fh.quantise(fh.load_model(name), fh.load_config('flexhyca-32x32'))",
    "rank": "fh.rank_neurons(fh.load_model(name))",
    "values": "cli('simulate', name, '--data', images, '--images', '8')",
}
_PREFIX = """
import os, resource, sys
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import flexhyca as fh

def cli(*arguments):
    from flexhyca.cli import app
    sys.stdout = sys.stderr
    app(list(arguments), standalone_mode=False)
    sys.stdout = sys.__stdout__

name, images = sys.argv[1:]
"""
_SUFFIX = "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"  # Linux: in KiB


def peak(case: str, model: str, images: str = "") -> int:
    """Largest resident size, in bytes, of a new process that runs one case."""
    script = _PREFIX + CASES[case] + _SUFFIX
    command = [sys.executable, "-c", script, model, images]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{case} of {model} failed:\n{done.stderr}")
    return int(done.stdout)


def write_images(path: Path, model: str, count: int) -> None:
    """Noise of the model's size, with labels."""
    import numpy as np

    from flexhyca.compiler.networks import network

    c, h, w = network(model).input_shape
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, h, w, c), np.uint8)
    np.savez(path, images=images, labels=rng.integers(0, 10, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["resnet50", "vgg16"])
    parser.add_argument("--images", type=int, default=20, help="of the npz that calibrates")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npz"
        for model in args.models:
            write_images(images, model, args.images)
            for case in CASES:
                print(f"{model:12} {case:9} {peak(case, model, str(images)) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()

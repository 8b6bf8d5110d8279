"""VGG-16, the largest shipped network, from images to accuracy in less than 2 GB."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
@pytest.mark.parametrize("values", [False, True])
def test_vgg16_fits_two_gigabytes(values, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 224, 224, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(6))
    options = ["--data", str(tmp_path / "images.npz")] if values else []
    command = [sys.executable, "-m", "flexhyca", "simulate", "vgg16", *options]
    # Measured by a small process: to Linux a child's peak is never below that of its parent.
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:])\n"
        "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(done.returncode)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert ("accuracy on 6 images" in run.stdout) == values
    peak = int(run.stdout.split("peak ")[-1])
    assert peak * 1024 < 2e9

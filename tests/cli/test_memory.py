"""VGG-16, the largest shipped network, from images to accuracy in less than 2 GB."""

from __future__ import annotations

import os
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
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    assert ("accuracy on 6 images" in printed) == values
    assert usage.ru_maxrss * 1024 < 2e9

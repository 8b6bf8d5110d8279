"""Freed memory goes back to the system where the C library can do that."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

from flexhyca.compiler import heap


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident pages of Linux")
def test_freed_blocks_go_back_and_live_ones_stay():
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("not glibc")
    heap.trim()
    before = resident()
    blocks, pins = [], []
    for i in range(1000):  # small enough for the heap, each behind a younger block that stays
        blocks.append(np.full(100_000, i % 100, np.int8))
        pins.append(np.full(1000, i % 100, np.int8))
    del blocks
    heap.trim()
    assert resident() - before < 50_000_000
    assert all((pin == i % 100).all() for i, pin in enumerate(pins))


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_another_c_library_is_left_alone(error, monkeypatch):
    def missing(name):
        raise error

    monkeypatch.setattr(heap.ctypes, "CDLL", missing)
    heap.trim()

"""Flips that protection leaves, against a bit-by-bit twin."""

import numpy as np
import pytest
from scipy.stats import binom

from flexhyca.faults.ber.memories import BitMemory, Shield
from flexhyca.faults.ber.random_bits import Hits


def twin(memory, modules, rates, shield):
    """Each bit for itself: (layer, word of the layer over copies) -> mask."""
    wrong = [dict(zip(m.at.tolist(), m.u.tolist(), strict=True)) for m in modules]
    found = {}
    for at in sorted(set().union(*wrong)):
        copy, rest = divmod(at, sum(memory.words) * memory.bits)
        word, bit = divmod(rest, memory.bits)
        important = memory.important is not None and bool(memory.important[word])
        layer, inner = 0, word
        while inner >= memory.words[layer]:
            inner -= memory.words[layer]
            layer += 1
        votes = sum(u.get(at, 1.0) < rates[layer] for u in wrong)
        low, high = (side[layer, int(important)] for side in shield)
        outvoted = low <= bit < high  # always, with one module
        if votes >= 2 if outvoted else wrong[0].get(at, 1.0) < rates[layer]:
            key = layer, copy * memory.words[layer] + inner
            found[key] = found.get(key, 0) | 1 << bit
    return found


@pytest.mark.parametrize("bits", [6, 8, 24, 32])
@pytest.mark.parametrize("modules", [1, 3])
@pytest.mark.parametrize("important", [False, True])
@pytest.mark.parametrize("even", [False, True])
def test_surviving_flips(bits, modules, important, even):
    rng = np.random.default_rng([bits, modules, important, even])
    words = (5, 1, 9)
    flags = rng.random(15) < 0.4 if important else None
    memory = BitMemory(words, bits, flags)
    low = rng.integers(0, bits, (3, 2))
    shield = Shield(low, low + rng.integers(0, bits, (3, 2)))
    rates = np.full(3, 0.3) if even else np.array([0.1, 0.0, 0.35])
    drawn = [memory.draw([4, m], 2, 6, 0.35) for m in range(modules)]
    found = memory.surviving(drawn, rates, shield)
    flat = {
        (layer, at): int(np.uint32(mask))
        for layer, marks in found.items()
        for at, mask in zip(marks.at.tolist(), marks.masks.view(np.uint32), strict=True)
    }
    assert flat == twin(memory, drawn, rates, shield)
    assert flat
    for marks in found.values():
        assert (np.diff(marks.at) > 0).all()
        assert (marks.at.dtype, marks.masks.dtype) == (np.int64, np.int32)


def test_copies_are_those_of_the_whole_memory():
    memory = BitMemory((100, 28), 8)
    parts = [memory.draw([1], first, first + 1, 0.05) for first in range(3)]
    whole = memory.draw([1], 0, 3, 0.05)
    shifted = [part.at + i * memory.copy_bits for i, part in enumerate(parts)]
    assert np.array_equal(np.concatenate(shifted), whole.at)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_three_copies_leave_3p2_2p3(rate):
    memory = BitMemory((40_000,), 8)
    whole = Shield(np.zeros((1, 2), int), np.full((1, 2), 8))
    drawn = [memory.draw([3, module], 0, 1, rate) for module in range(3)]
    marks = memory.surviving(drawn, np.array([rate]), whole)[0]
    left = sum(int(mask).bit_count() for mask in marks.masks)
    low, high = binom.interval(0.999, 320_000, 3 * rate**2 - 2 * rate**3)
    assert low <= left <= high
    assert not memory.surviving(drawn[:1], np.array([rate]), whole)  # ideal


def test_no_hits():
    none = Hits(np.zeros(0, np.int64), np.zeros(0))
    shield = Shield(np.zeros((1, 2), int), np.zeros((1, 2), int))
    assert BitMemory((4,), 8).surviving([none], np.array([0.1]), shield) == {}

"""Random faults for property tests: few places and steps, so that they meet."""

from collections import Counter

import numpy as np

from flexhyca.isa.protection import COPIES
from flexhyca.isa.registers import BY_UNIT
from flexhyca.network import fixedpoint as fx
from flexhyca.simulator.array.flips import Flip

KINDS = ("flip", "stuck-at-0", "stuck-at-1", "stuck-at-0 window", "stuck-at-1 window")


def operands(rng, bits, shape, extreme):
    """Numbers of `bits` bits; extreme ones are the largest, so that narrow sums wrap."""
    low, high = fx.limits(bits)
    if extreme:
        return rng.choice([low, high], shape)
    return rng.integers(low, high + 1, shape)


def random_flip(rng, unit, name, row, col, arithmetic, steps, around, protected):
    """A fault of a kind drawn from KINDS, in a bit that is protected every other time."""
    register = BY_UNIT[unit][name]
    width = register.bits(arithmetic)
    bit = int(rng.integers(width))
    inside = [b for b in protected if b < width] if register.protected else []
    if inside and rng.random() < 0.6:
        bit = int(rng.choice(inside))
    copy = int(rng.integers(COPIES)) if bit in inside else 0
    step = int(np.clip(around + rng.integers(-3, 4), 0, steps - 1))
    kind = KINDS[int(rng.choice(5, p=[0.6, 0.05, 0.05, 0.15, 0.15]))]
    stuck = -1 if kind == "flip" else int(kind[9])
    until = int(step + rng.integers(1, 9)) if kind.endswith("window") else -1
    if kind in KINDS[1:3] and rng.random() < 0.5:
        step = 0  # a permanent one
    return Flip(step, name, int(row), int(col), bit, copy, unit, stuck, until)


def kind_of(flip):
    """Its name in KINDS."""
    if flip.stuck == -1:
        return "flip"
    return f"stuck-at-{flip.stuck}" + (" window" if flip.until != -1 else "")


class Coverage(Counter):
    """Faults of the cases so far, by register and kind."""

    def add(self, flips, protected=range(0), voter=""):
        self["cases"] += 1
        self["interacting cases"] += len(flips) > 1
        for f in flips:
            has_copies = BY_UNIT[f.unit][f.register].protected and f.bit in protected
            copies = f", copies, {voter}" if has_copies else ""
            self[f"{f.unit}.{f.register}: {kind_of(f)}{copies}"] += 1

    def table(self):
        return "\n".join(f"{count:8} {name}" for name, count in sorted(self.items()))

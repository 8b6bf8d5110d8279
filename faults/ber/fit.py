"""Bit error rates and failures in time: the same errors, per inference and per hour.

A bit error rate is the probability that a stored bit is wrong in an inference; a raw rate of soft
errors is given in FIT per Mbit, upsets of 2^20 bits in 10^9 hours.  Exposure joins them: an upset
does harm only while what the bit holds is still wanted, so a bit's probability is the raw rate
times its live time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import FlexhycaError
from ...isa.program import Program
from .machine import memories
from .options import BerOptions

#: Bit-seconds in which one FIT per Mbit is one upset.
_BIT_SECONDS = 1e9 * 3600 * 2**20


@dataclass(frozen=True)
class Exposure:
    """The bits that may flip in an inference of one image, and for how long they matter.

    cycles : mean live cycles of a bit. profile : "neurons/LAYER", "weights/LAYER" or "input" ->
    live cycles of these bits relative to the mean, as `BerFaults` takes it.
    """

    bits: int
    cycles: float
    profile: dict[str, float]

    def fit_per_mbit(self, ber: float, clock_hz: float) -> float:
        """The raw rate that gives this mean bit error rate."""
        return ber * clock_hz / self.cycles * _BIT_SECONDS

    def ber(self, fit_per_mbit: float, clock_hz: float) -> float:
        """The mean bit error rate of a raw rate."""
        return fit_per_mbit / _BIT_SECONDS * self.cycles / clock_hz


def exposure(program: Program, cycles: Sequence[int], options: BerOptions) -> Exposure:
    """Bits x live cycles of what `options` let flip. cycles : of each layer (`Result.layers`).

    A layer writes its output and reads its input evenly over its time, so a neuron lives from the
    middle of its own layer to the middle of the last one that reads it (the logits: to the end),
    a weight and the image from the start of the inference to the middle of the layer.
    """
    network = program.network
    ends = [sum(cycles[: i + 1]) for i in range(len(cycles))]
    middle = [end - own / 2 for end, own in zip(ends, cycles, strict=True)]
    read = {t: i for i, la in enumerate(network.layers) for t in (la.input, la.residual)}
    live: dict[str, tuple[int, float]] = {}
    for name, memory in memories(network, options).items():
        if name == "input":
            live[name] = memory.copy_bits, middle[read[network.input]]
            continue
        for i, words in zip(sorted(network.weights), memory.words, strict=True):
            layer = network.layers[i]
            until = middle[i]
            if name == "neurons":
                if layer.output == network.output:
                    until = ends[-1] - middle[i] if options.logits else math.nan
                else:
                    until = middle[read[layer.output]] - middle[i]
            live[f"{name}/{layer.name}"] = words * memory.bits, until
    kept = {name: own for name, own in live.items() if not math.isnan(own[1])}
    bits = sum(count for count, _ in kept.values())
    if not bits:
        raise FlexhycaError(
            f"{network.name}: no bit is left that could be wrong (no weight, and logits only); "
            "let weights, logits or the input flip"
        )
    mean = sum(count * until for count, until in kept.values()) / bits
    return Exposure(bits, mean, {name: until / mean for name, (_, until) in kept.items()})

"""Which stored bits a machine protects, as the bit error model sees it (docs/ber.md).

Of a neuron the top `nb_th` bits, of an important one, which the DPPU computes, the top `ib_th`;
of an accumulator what `isa.protection` gives copies; of a redundant layer everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...config import Config, Protection
from ...isa.program import Program
from ...isa.protection import layer_copies, protected_columns
from ...network.layers import Network
from ...network.names import matches
from ...simulator.text.spans import Spans
from ...tables import complete
from .memories import Shield
from .options import BerOptions

complete(
    "protection in config/schema.py",
    Protection.model_fields,
    (
        *("s_th", "s_policy"),  # which neurons are important, as the program has them
        *("nb_th", "ib_th"),  # how many bits (`_tops`), and which of an accumulator:
        *("q_scale", "pe_policy", "voter"),
        *("redundancy", "redundant_layers"),  # `redundant`
    ),
    "faults/ber/protection.py: what protects a stored bit",
)


@dataclass(frozen=True)
class ProtectedNetwork:
    """A network on a machine: what bit errors meet.

    important : layer -> flat elements (h, w, c) of one image that the DPPU computes, ascending.
    """

    network: Network
    config: Config
    important: Mapping[int, NDArray[np.int64]]

    @classmethod
    def compiled(cls, program: Program) -> ProtectedNetwork:
        """What a program does: its position tables say which neurons the DPPU computes."""
        return cls(program.network, program.config, _tabled_neurons(program))

    @classmethod
    def of(
        cls, network: Network, config: Config, masks: Mapping[int, NDArray[np.bool_]]
    ) -> ProtectedNetwork:
        """The same without a program. masks : layer -> bool (h, w, c), the important neurons."""
        found = {}
        if _recomputes(config):
            flat = {i: np.flatnonzero(mask) for i, mask in masks.items()}
            found = {i: at for i, at in flat.items() if len(at)}
        return cls(network, config, found)


def _recomputes(config: Config) -> bool:
    return bool(config.dppu.size) and config.array.keeps_sums


def _tabled_neurons(program: Program) -> dict[int, NDArray[np.int64]]:
    if not _recomputes(program.config):
        return {}
    spans = Spans(program)
    found = {}
    for layer in sorted(program.network.weights):
        parts = []
        for span in spans.own[layer]:
            places = spans.important(span)
            parts.append(spans.elements(span, places[:, 0], places[:, 1]))
        elements = np.unique(np.concatenate(parts))
        elements = elements[elements < program.network.neurons(layer)]  # of the batch's first image
        if len(elements):
            found[layer] = elements
    return found


def redundant(subject: ProtectedNetwork, protect: Sequence[str] = ()) -> NDArray[np.bool_]:
    """Of each CONV layer in order: whether it is computed three times over, or in `protect`."""
    layers, config = subject.network.layers, subject.config
    names = [layers[i].name for i in sorted(subject.network.weights)]
    return np.array(
        [
            layer_copies(config, name) > 1 or any(matches(pattern, name) for pattern in protect)
            for name in names
        ],
        bool,
    )


def neuron_shield(
    subject: ProtectedNetwork, options: BerOptions, protect: Sequence[str] = ()
) -> Shield:
    """Protected bits of neurons, or of their accumulators."""
    config, network = subject.config, subject.network
    acc = options.target == "acc"
    bits = config.arithmetic.acc_bits if acc else config.arithmetic.act_bits
    ranges = []
    for i in sorted(network.weights):
        shift = network.layers[i].shift
        own = [protected_columns(config, shift, unit) for unit in ("array", "dppu")]
        ranges.append(own if acc else [range(bits - top, bits) for top in _tops(config)])
    return _with_whole(_shield(ranges), redundant(subject, protect), bits)


def weight_shields(
    subject: ProtectedNetwork, options: BerOptions, protect: Sequence[str] = ()
) -> tuple[Shield, Shield]:
    """Protected bits of weights as the array and as the DPPU read them."""
    config, layers = subject.config, len(subject.network.weights)
    bits = config.arithmetic.weight_bits
    whole = redundant(subject, protect)
    shields = []
    for top in _tops(config):
        count = top if options.weight_faults == "pe" else 0
        own = range(max(0, bits - count), bits)
        shields.append(_with_whole(_shield([[own, own]] * layers), whole, bits))
    return shields[0], shields[1]


def _tops(config: Config) -> tuple[int, int]:
    """How many top bits the array and the DPPU protect."""
    return config.protection.nb_th, config.protection.ib_th


def _shield(ranges: Sequence[Sequence[range]]) -> Shield:
    low = np.array([[r.start for r in pair] for pair in ranges], np.int64)
    return Shield(low, np.array([[r.stop for r in pair] for pair in ranges], np.int64))


def _with_whole(shield: Shield, whole: NDArray[np.bool_], bits: int) -> Shield:
    return Shield(
        np.where(whole[:, None], 0, shield.low), np.where(whole[:, None], bits, shield.high)
    )

"""Which stored bits a machine protects, as the bit error model sees it (docs/ber.md).

Of a neuron the top `nb_th` bits, of one that the DPPU or a hardened column computes, the top
`ib_th`; of an accumulator what `isa.protection` gives copies; of a redundant layer everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...compiler.compile_network import compile_network
from ...compiler.hardened import hardened_places
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
        "hardened_cols",  # which channels' bits are more
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
    hardened : layer -> bool (c,), the channels of the network that hardened columns compute.
    """

    network: Network
    config: Config
    important: Mapping[int, NDArray[np.int64]]
    hardened: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)

    @classmethod
    def compiled(cls, program: Program) -> ProtectedNetwork:
        """What a program does: its position tables say which neurons the DPPU computes."""
        neurons, channels = _tabled_neurons(program), _hardened_channels(program)
        return cls(program.network, program.config, neurons, channels)

    @classmethod
    def of(
        cls, network: Network, config: Config, masks: Mapping[int, NDArray[np.bool_]]
    ) -> ProtectedNetwork:
        """The same of the network itself. masks : layer -> bool (h, w, c), important neurons."""
        if config.protection.hardened_cols:
            program = compile_network(network, config, masks)
            return cls(network, config, {}, _in_model_order(program))
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


def _hardened_channels(program: Program) -> dict[int, NDArray[np.bool_]]:
    columns = program.config.protection.hardened_cols
    if not columns:
        return {}
    spans, network, found = Spans(program), program.network, {}
    for layer in network.weights:
        tiles = {(span.n0, span.n) for span in spans.own[layer]}
        channels = network.tensors[network.layers[layer].output].c
        found[layer] = hardened_places(tiles, columns, channels)
    return found


def _in_model_order(program: Program) -> dict[int, NDArray[np.bool_]]:
    network, found = program.network, _hardened_channels(program)
    for layer, own in found.items():
        if order := network.tensors[network.layers[layer].output].order:
            found[layer] = np.zeros_like(own)
            found[layer][list(order)] = own
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
        unit = "array" if subject.hardened else "dppu"  # that computes important neurons
        own = [
            protected_columns(config, shift),
            protected_columns(config, shift, unit, hardened=True),
        ]
        ranges.append(own if acc else [range(bits - top, bits) for top in _tops(config)])
    return _with_whole(_shield(ranges), redundant(subject, protect), bits)


def weight_shields(
    subject: ProtectedNetwork, options: BerOptions, protect: Sequence[str] = ()
) -> tuple[Shield, Shield]:
    """Protected bits of weights as the array and as the DPPU read them."""
    config, layers = subject.config, len(subject.network.weights)
    bits = config.arithmetic.weight_bits
    whole = redundant(subject, protect)

    def shield(*tops: int) -> Shield:
        counts = [top if options.weight_faults == "pe" else 0 for top in tops]
        own = [range(max(0, bits - count), bits) for count in counts]
        return _with_whole(_shield([own] * layers), whole, bits)

    ordinary, important = _tops(config)
    array = shield(ordinary, important if subject.hardened else ordinary)
    return array, shield(important, important)


def _tops(config: Config) -> tuple[int, int]:
    """How many top bits of ordinary and of important neurons are protected."""
    return config.protection.nb_th, config.protection.ib_th


def _shield(ranges: Sequence[Sequence[range]]) -> Shield:
    low = np.array([[r.start for r in pair] for pair in ranges], np.int64)
    return Shield(low, np.array([[r.stop for r in pair] for pair in ranges], np.int64))


def _with_whole(shield: Shield, whole: NDArray[np.bool_], bits: int) -> Shield:
    return Shield(
        np.where(whole[:, None], 0, shield.low), np.where(whole[:, None], bits, shield.high)
    )

"""A protected machine under bit errors: which of the drawn flips an inference really meets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...compiler.hardened import neuron_places, weight_places
from ...network.layers import Network
from ...network.upsets import Marks, Upsets
from .memories import BitMemory, Shield
from .options import BerOptions, Case
from .protection import ProtectedNetwork, neuron_shield, weight_shields
from .random_bits import Hits

#: Flips that are held at once: more images than cause them are drawn one group after the other.
_HELD = 1 << 22
#: Key of each memory's random numbers, and of the order of the images.
CODES = {"images": 0, "neurons": 1, "weights": 2, "input": 3}


class ImageGroup(NamedTuple):
    """Some images of a pattern, and what may flip while they are inferred.

    images : their numbers. hits : memory -> the one that is, or three that are voted.
    """

    images: NDArray[np.int64]
    hits: Mapping[str, Sequence[Hits]]


def memories(network: Network, options: BerOptions) -> dict[str, BitMemory]:
    """Name -> memory, of those that `options` let flip."""
    a, layers = network.arithmetic, sorted(network.weights)
    bits = a.acc_bits if options.target == "acc" else a.act_bits
    found = {"neurons": BitMemory(tuple(network.neurons(i) for i in layers), bits)}
    if options.weight_faults != "none":
        sizes = tuple(network.weights[i].size for i in layers)
        found["weights"] = BitMemory(sizes, a.weight_bits)
    if options.input:
        found["input"] = BitMemory((network.tensors[network.input].elements,), a.act_bits)
    return found


def draw_groups(
    network: Network,
    options: BerOptions,
    rate: float,
    key: Sequence[int],
    images: NDArray[np.int64],
) -> list[ImageGroup]:
    """The bits that may flip in a pattern at `rate`. key : its seed. images : their numbers."""
    modules = 3 if options.protected == "tmr_copies" else 1

    def drawn(name: str, memory: BitMemory, first: int, last: int) -> list[Hits]:
        keys = [[*key, CODES[name], module] for module in range(modules)]
        return [memory.draw(each, first, last, rate) for each in keys]

    own = memories(network, options)
    common = {name: drawn(name, own.pop(name), 0, 1) for name in ("weights",) if name in own}
    each = sum(memory.copy_bits for memory in own.values()) * rate
    size = max(1, min(len(images), int(_HELD / max(each, 1.0))))
    return [
        ImageGroup(
            images[first : first + size],
            common
            | {
                name: drawn(name, memory, first, min(first + size, len(images)))
                for name, memory in own.items()
            },
        )
        for first in range(0, len(images), size)
    ]


def pattern_images(
    key: Sequence[int], total: int, options: BerOptions, patterns: Sequence[int]
) -> NDArray[np.int64]:
    """Numbers of the images of some patterns: (patterns, images a pattern).

    All of `total` in turn, in an order that is shuffled once. key : of the patterns.
    """
    count = min(options.images_per_pattern, total)
    order = np.random.default_rng([*key, CODES["images"]]).permutation(total)
    first = np.array(patterns, np.int64)[:, None] * count
    found: NDArray[np.int64] = order[(first + np.arange(count)) % total]
    return found


def _hardened(subject: ProtectedNetwork, own: Mapping[str, BitMemory]) -> dict[str, BitMemory]:
    """The memories of a network with hardened channels, whose words are drawn as the model's."""
    network, found = subject.network, dict[str, BitMemory]()
    moved = any(tensor.order for tensor in network.tensors)
    for name, flags_of, places_of in (
        ("neurons", np.resize, neuron_places),  # channels of one pixel after the other
        ("weights", _each, weight_places),
    ):
        if name in own:
            flags, places, first = [], [], 0
            for i, words in zip(sorted(network.weights), own[name].words, strict=True):
                flags.append(flags_of(subject.hardened[i], words))
                places.append(first + places_of(network, i))
                first += words
            at = np.concatenate(places) if moved else None
            found[name] = replace(own[name], important=np.concatenate(flags), places=at)
    return found


def _each(mask: NDArray[np.bool_], words: int) -> NDArray[np.bool_]:
    """Words of one channel after the other."""
    return np.repeat(mask, words // len(mask))


class ProtectedMachine:
    """A network on a machine under one case: turns drawn bits into upsets."""

    def __init__(
        self,
        subject: ProtectedNetwork,
        case: Case,
        options: BerOptions,
        profile: Mapping[str, float],
    ) -> None:
        """profile : see `BerFaults`."""
        network = subject.network
        self.layers, self.options = sorted(network.weights), options
        self.important = subject.important
        names = [network.layers[i].name for i in self.layers]
        neurons, weights = (
            np.array([case.ber * profile.get(f"{memory}/{name}", 1.0) for name in names])
            for memory in ("neurons", "weights")
        )
        last = np.array([network.layers[i].output == network.output for i in self.layers])
        if not options.logits:
            neurons = np.where(last, 0.0, neurons)
        own = memories(network, options)
        own["neurons"] = replace(own["neurons"], important=self._flags(own))
        if subject.hardened:
            own |= _hardened(subject, own)
        self._memories = own
        self._rates = {"neurons": neurons, "weights": weights}
        self._rates["input"] = np.array([case.ber * profile.get("input", 1.0)])
        nothing = Shield(np.zeros((1, 2), np.int64), np.zeros((1, 2), np.int64))
        array, self._dppu = weight_shields(subject, options, case.protect)
        self._shields = {"input": nothing, "weights": array}
        self._shields["neurons"] = neuron_shield(subject, options, case.protect)

    def _flags(self, own: Mapping[str, BitMemory]) -> NDArray[np.bool_] | None:
        if not self.important:
            return None
        flags = [np.zeros(words, bool) for words in own["neurons"].words]
        for i, elements in self.important.items():
            flags[self.layers.index(i)][elements] = True
        return np.concatenate(flags)

    def upsets(self, group: ImageGroup) -> Upsets:
        """What is wrong in the inference of a group's images."""
        neurons = self._marks("neurons", group)
        weights, dppu = self._marks("weights", group), {}
        if self.important and "weights" in group.hits:
            other = self._marks("weights", group, self._dppu)
            none = Marks(np.zeros(0, np.int64), np.zeros(0, np.int32))
            dppu = {i: other.get(i, none) for i in self.important}
        start = self._marks("input", group)
        acc, before = self.options.target == "acc", self.options.stage == "before_relu"
        return Upsets(
            weights=weights,
            dppu_weights=dppu,
            important=self.important,
            accumulators=neurons if acc else {},
            before=neurons if not acc and before else {},
            after=neurons if not acc and not before else {},
            input=next(iter(start.values()), None),
        )

    def _marks(
        self, name: str, group: ImageGroup, shield: Shield | None = None
    ) -> dict[int, Marks]:
        """By layer of the network."""
        if name not in group.hits:
            return {}
        memory, own = self._memories[name], shield or self._shields[name]
        found = memory.surviving(group.hits[name], self._rates[name], own)
        return {self.layers[i]: marks for i, marks in found.items()}

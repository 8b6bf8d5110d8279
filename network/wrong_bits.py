"""Wrong bits applied to the values of the functional engine; `upsets` says what they mean."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from ..errors import InternalError
from .arrays import I8, I32, I64
from .fixedpoint import flipped
from .layers import Network
from .upsets import Marks, Upsets

Weights = MutableMapping[int, I8]  # which ChainMap asks for, and only reads
_DENSE = 128  # products of a layer for each that is corrected: fewer, and all are formed again


@dataclass(frozen=True)
class Recomputed:
    """Sums of a layer that the DPPU forms with other weights than the array, of one image.

    elements : flat sums (h, w, out_c). Either sources : flat input elements (h, w, in_c), and by :
    int32, what the DPPU's weight is more than the array's, one for each entry of `elements`, which
    may then name a sum many times; or weight : all of the DPPU's, to form these sums with.
    """

    elements: I64
    sources: I64
    by: I32
    weight: I8 | None = None


def recomputed(network: Network, i: int, weight: I8, important: I64) -> Recomputed:
    """How the DPPU's sums of layer `i` follow from the array's, whose weights the network holds."""
    layer, own = network.layers[i], network.weights[i]
    shape, out = network.tensors[layer.input], network.tensors[layer.output]
    o, ky, kx, c = np.nonzero(own != weight)
    by = weight[o, ky, kx, c].astype(np.int32) - own[o, ky, kx, c]
    c = c + o // (out.c // layer.groups) * own.shape[3]
    if (important[1:] <= important[:-1]).any():
        important = np.unique(important)
    important = important[np.argsort(important % out.c, kind="stable")]
    counts = np.bincount(important % out.c, minlength=out.c)
    starts = np.cumsum(counts) - counts
    repeat = counts[o]  # each wrong weight meets the important sums of its channel
    none = np.zeros(0, np.int64)
    if repeat.sum() * _DENSE > network.macs(i):
        return Recomputed(important, none, none.astype(np.int32), weight)
    pair = np.repeat(np.arange(len(o)), repeat)
    nth = np.arange(len(pair)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
    elements = important[starts[o[pair]] + nth]
    pixel = elements // out.c
    y = pixel // out.w * layer.stride_h + ky[pair] * layer.dilation_h - layer.pad_top
    x = pixel % out.w * layer.stride_w + kx[pair] * layer.dilation_w - layer.pad_left
    inside = (y >= 0) & (y < shape.h) & (x >= 0) & (x < shape.w)
    sources = (y * shape.w + x) * shape.c + c[pair]
    return Recomputed(elements[inside], sources[inside], by[pair][inside])


def checked(upsets: Upsets, network: Network, images: int) -> Upsets:
    """The same upsets with marks in order; InternalError for elements that do not exist."""
    elements = {i: network.tensors[network.layers[i].output].elements for i in network.weights}
    kinds = ("weights", "dppu_weights", "important", "accumulators", "before", "after")
    for kind in kinds:
        if unknown := sorted(set(getattr(upsets, kind)) - set(elements)):
            raise InternalError(f"upsets: {kind} of layers {unknown}, which have no weights")

    def ordered(marks: Marks, size: int, what: str) -> Marks:
        at = np.asarray(marks.at, np.int64)
        masks = np.asarray(marks.masks, np.int32)
        if len(at) > 1 and (at[1:] <= at[:-1]).any():
            order = np.argsort(at, kind="stable")
            at, masks = at[order], masks[order]
            if (at[1:] == at[:-1]).any():
                raise InternalError(f"upsets: {what} name an element twice")
        if len(at) and (at[0] < 0 or at[-1] >= size):
            raise InternalError(f"upsets: {what} name elements {at[0]}..{at[-1]} of {size}")
        return Marks(at, masks)

    def of_kind(kind: str) -> dict[int, Marks]:
        return {
            i: ordered(
                marks,
                network.weights[i].size if "weights" in kind else images * elements[i],
                f"{kind} of layer {i}",
            )
            for i, marks in getattr(upsets, kind).items()
        }

    for i, at in upsets.important.items():
        if len(at) and (at.min() < 0 or at.max() >= elements[i]):
            raise InternalError(f"upsets: important of layer {i} beyond {elements[i]} elements")
    start = upsets.input
    if start is not None:
        size = images * network.tensors[network.input].elements
        start = ordered(start, size, "those of the input")
    return Upsets(
        weights=of_kind("weights"),
        dppu_weights=of_kind("dppu_weights"),
        important=upsets.important,
        accumulators=of_kind("accumulators"),
        before=of_kind("before"),
        after=of_kind("after"),
        input=start,
    )


def of_images(upsets: Upsets, network: Network, first: int, count: int) -> Upsets:
    """The (`checked`) upsets of some of the images, whose elements are then numbered from 0."""

    def cut(marks: Marks, size: int) -> Marks:
        low, high = np.searchsorted(marks.at, (first * size, (first + count) * size))
        return Marks(marks.at[low:high] - first * size, marks.masks[low:high])

    def cuts(kind: str) -> dict[int, Marks]:
        return {
            i: cut(marks, network.tensors[network.layers[i].output].elements)
            for i, marks in getattr(upsets, kind).items()
        }

    start = upsets.input
    if start is not None:
        start = cut(start, network.tensors[network.input].elements)
    return replace(
        upsets,
        accumulators=cuts("accumulators"),
        before=cuts("before"),
        after=cuts("after"),
        input=start,
    )


def faulted(weight: I8, marks: Marks | None, bits: int) -> I8:
    """A copy of `weight` (any shape) with the marked words wrong, two's complement of `bits`."""
    if marks is None or not len(marks.at):
        return weight
    out = np.array(weight, order="C")
    flat = out.reshape(-1)
    flat[marks.at] = flipped(flat[marks.at], marks.masks, bits)
    return out


def with_weights(network: Network, weights: dict[int, I8]) -> Network:
    """The network with other weights in some layers; the rest are read when they are needed."""
    return replace(network, weights=ChainMap(weights, cast("Weights", network.weights)))


def merged(sums: Marks | None, stored: Marks | None) -> tuple[I64, I32, I32]:
    """Elements with wrong bits in their sum or in their requantised value, and both masks."""
    if sums is None or stored is None:  # as nearly always
        own = sums or stored or Marks(np.zeros(0, np.int64), np.zeros(0, np.int32))
        none = np.zeros(len(own.at), np.int32)
        return own.at, own.masks if sums else none, none if sums else own.masks
    at = np.union1d(sums.at, stored.at)
    masks = np.zeros((2, len(at)), np.int32)
    for each, marks in zip(masks, (sums, stored), strict=True):
        each[np.searchsorted(at, marks.at)] = marks.masks
    return at, masks[0], masks[1]

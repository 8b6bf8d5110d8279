"""Which elements of a tensor, in few words: exact where they are few rectangles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...simulator.array.tile import runs

_MOST = 24  #: stretches of pixels and channels that are listed


def region(elements: NDArray[np.int64], width: int, channels: int) -> str:
    """elements : flat numbers in a tensor (h, width, channels), each once."""
    of: dict[int, list[int]] = {}  # channels by pixel
    for pixel, channel in sorted(zip(*np.divmod(elements, channels), strict=True)):
        of.setdefault(int(pixel), []).append(int(channel))
    groups: dict[tuple[int, ...], list[int]] = {}  # pixels by what of them it is
    for pixel, own in of.items():
        groups.setdefault(tuple(own), []).append(pixel)
    rectangles = [(runs(pixels), runs(own)) for own, pixels in groups.items()]
    if sum(len(pixels) + len(own) for pixels, own in rectangles) <= _MOST:
        return "; ".join(_rectangle(pixels, own, width) for pixels, own in rectangles)
    every = [(min(of), max(of))], [(min(map(min, of.values())), max(map(max, of.values())))]
    return f"within {_rectangle(*every, width)}"


def _rectangle(
    pixels: Sequence[tuple[int, int]], channels: Sequence[tuple[int, int]], width: int
) -> str:
    def pixel(at: int) -> str:
        return f"({at // width}, {at % width})"

    many = len(pixels) > 1 or pixels[0][0] != pixels[0][1]
    return (
        f"pixel{'s' * many} {stretches(pixels, pixel)}, channel"
        f"{'s' * (len(channels) > 1 or channels[0][0] != channels[0][1])} {stretches(channels)}"
    )


def stretches(found: Iterable[tuple[int, int]], name: Callable[[int], str] = str) -> str:
    """`3..7, 9`."""
    return ", ".join(name(a) if a == b else f"{name(a)}..{name(b)}" for a, b in found)

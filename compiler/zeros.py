"""Constants of a network whose values nobody asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SCALE = 1.0  #: of every tensor: no value has a meaning


def empty_weight(shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Zeros that take no memory."""
    return np.broadcast_to(np.int8(0), shape)


def empty_bias(channels: int) -> NDArray[np.int32]:
    """Zeros, int32 (channels,)."""
    return np.zeros(channels, np.int32)

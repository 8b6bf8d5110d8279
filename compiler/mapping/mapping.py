"""How a convolution is cut, and what there is to decide it from."""

from __future__ import annotations

from typing import NamedTuple

from ...config import Config
from ...config.mappings import ANY_MAPPING, WantedMapping
from ...isa.descriptors import Redundancy
from ..on_chip import OnChip
from ..tiling.tiles import Geometry
from .recomputing import DppuNeurons

#: Shares of a scratchpad that are tried.
_SHARES = 8


class Mapping(NamedTuple):
    """How a convolution is cut: into tiles, fills of the buffers, and parts of the reduction.

    rows, cols : pixels and channels of a tile at most. cut_rows : no tile has pixels of two output
    rows. whole : blocks hold whole input rows with all channels. pixel_tiles, channel_tiles : that
    share a fill. step_ky, step_c : of the reduction. parked : sums wait in the output buffer.
    weights_outside : the outer loop is over channels.
    """

    rows: int
    cols: int
    cut_rows: bool
    whole: bool
    pixel_tiles: int
    channel_tiles: int
    step_ky: int
    step_c: int
    parked: bool
    weights_outside: bool

    def __str__(self) -> str:
        """In few words."""
        order = "weights stay" if self.weights_outside else "inputs stay"
        parts = f", parts of {self.step_ky} kernel rows x {self.step_c} channels"
        return (
            f"tiles of {self.rows} x {self.cols}, {self.pixel_tiles} x {self.channel_tiles} a fill"
            f"{parts}{', parked' if self.parked else ''}, {order}"
        )


class Room(NamedTuple):
    """Bytes that a fill's inputs and its weights may take: half of their memories.

    shared : they may take as much together, as they share one memory. weight_shares : what weights
    are tried to fill of it.
    """

    inputs: int
    weights: int
    shared: bool
    weight_shares: tuple[int, ...]

    @classmethod
    def of(cls, config: Config) -> Room:
        """Of a machine."""
        b = config.buffers
        if half := b.scratchpad_bytes // 2:
            return cls(
                half, half, True, tuple(half * part // _SHARES for part in range(1, _SHARES))
            )
        return cls(b.ifmap_bytes // 2, b.weight_bytes // 2, False, (b.weight_bytes // 2,))


class LayerOnMachine(NamedTuple):
    """A layer to be cut, and the machine.

    geometry : `Geometry.shape`. machine : `choose.machine_of`. columns : channels that a tile has
    at most. may_park : whether sums may wait in the output buffer. on_chip : what of it is in the
    activation memory. recomputed : by the DPPU, if that is to be seen.
    """

    geometry: Geometry
    machine: Config
    redundancy: Redundancy
    columns: int
    may_park: bool
    wanted: WantedMapping = ANY_MAPPING
    on_chip: OnChip = OnChip()
    recomputed: DppuNeurons | None = None

"""Where everything lies in DRAM: regions one after the other, each at the start of a burst.

Text and descriptors come last: their sizes are known only when all is emitted. Tensors that stay on
chip have addresses behind all DRAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...config import Config
from ...errors import CompileError
from ...network.layers import Network
from .constants import Constants, align


@dataclass(frozen=True)
class MemoryMap:
    """regions : name -> (first byte, bytes), without text and descriptors; tensors : first bytes.

    Raises CompileError where the DRAM of `config` is too small.
    """

    name: str
    config: Config
    regions: dict[str, tuple[int, int]]
    tensors: list[int]

    def __post_init__(self) -> None:
        self._check(self._end)

    @staticmethod
    def of(
        network: Network,
        config: Config,
        batch: int,
        constants: Constants,
        position_bytes: int,
        kept: Mapping[int, int],
    ) -> MemoryMap:
        """The regions of a program before any text. kept : see `compiler.on_chip`."""
        offsets, at = [], 0
        for i, t in enumerate(network.tensors):
            offsets.append(at)
            at += 0 if i in kept else align(t.elements * batch)
        sizes = {
            "weights": constants.weights.nbytes,
            "bias": constants.bias.nbytes,
            "positions": position_bytes,
            "activations": at,
        }
        regions, base = {}, 0
        for region, size in sizes.items():
            regions[region] = (base, size)
            base += align(size)
        first = regions["activations"][0]
        tensors = [
            config.activation_base + kept[i] if i in kept else first + offset
            for i, offset in enumerate(offsets)
        ]
        return MemoryMap(network.name, config, regions, tensors)

    def base(self, region: str) -> int:
        """First byte of a region."""
        return self.regions[region][0]

    @property
    def _end(self) -> int:
        base, size = list(self.regions.values())[-1]
        return base + align(size)

    def whole(self, text: int, descriptors: int) -> dict[str, tuple[int, int]]:
        """All regions, with those of the text and of the descriptors, of so many bytes."""
        regions = dict(self.regions)
        regions["text"] = (self._end, text)
        regions["descriptors"] = (self._end + align(text), descriptors)
        self._check(sum(regions["descriptors"]))
        return regions

    def _check(self, end: int) -> None:
        limit, size = self.config.dram_end, self.config.dram.size_bytes
        if end > limit:
            taken = self.config.buffers.activation_bytes
            has = f"dram.size_bytes is {size}; use a smaller batch or enlarge it (4 GiB at most)"
            if limit < size:
                has = (
                    f"{limit} of 4 GiB have addresses beside buffers.activation_bytes = {taken}; "
                    "use a smaller batch or a smaller activation memory"
                )
            raise CompileError(f"{self.name}: the program needs {end} bytes of DRAM, {has}")

"""What LOAD, STORE and the DPPU find at an address: bytes of DRAM, or of the activation memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import FlexhycaError
from ...isa.program import Program
from ...network.arrays import I8


class Located(NamedTuple):
    """The memory that an address is of, and which of its bytes it names."""

    memory: I8
    at: int


class AddressSpace:
    """DRAM with a program's constants in it, and the activation memory.

    stored : what has been stored of each tensor that stays on chip, as others take its place.
    """

    def __init__(self, program: Program, activations: I8) -> None:
        """activations : the bytes of the memory. FlexhycaError where DRAM is too large for here."""
        self.program, self.activations = program, activations
        self.base = program.config.activation_base
        first, size = program.memory_map["activations"]
        try:
            self.dram = np.zeros(first + size, np.int8)
        except MemoryError:
            raise FlexhycaError(
                f"{program.name}: {first + size} bytes of DRAM do not fit this computer's memory; "
                "use values 'fast' or 'none'"
            ) from None
        for region, data in (
            ("weights", program.weights),
            ("bias", program.bias.view(np.int8)),
            ("positions", program.positions.view(np.int8)),
        ):
            at, nbytes = program.memory_map[region]
            self.dram[at : at + nbytes] = data
        self.stored = {index: np.zeros(self._shape(index), np.int8) for index in program.kept}

    def _shape(self, index: int) -> tuple[int, ...]:
        return (self.program.batch, *self.program.tensors[index, :3].tolist())

    def find(self, address: int) -> Located:
        """What lies at an address."""
        if address >= self.base:
            return Located(self.activations, address - self.base)
        return Located(self.dram, address)

    def tensor(self, index: int) -> I8:
        """The bytes that are a tensor's while it is there: (batch, h, w, c)."""
        shape = self._shape(index)
        memory, at = self.find(int(self.program.tensors[index, 3]))
        return memory[at : at + int(np.prod(shape))].reshape(shape)

    def written(self, index: int) -> I8:
        """A tensor as it was stored, whatever has become of its bytes: (batch, h, w, c)."""
        return self.stored[index] if index in self.stored else self.tensor(index)

"""What depends on the dataflow of the array: one interface, of which `dataflows` has the table.

Each dataflow answers for its processing elements, their delay lines and its sums: how long a tile
takes, what its registers do step by step (`step`, the reference) and what faults in them change
(`correct`, the exact twin), what a register holds in a step (`hold`) and when that is used
(`count`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeAlias

import numpy as np

from ...isa.registers import SKEW_OF_DATAFLOW, UNIT_OF_DATAFLOW, Register
from ...network.arrays import I8, I32, I64
from .flips import Flip
from .tile import Held, Pes, TileShape, Uses

Changes: TypeAlias = tuple[I64, I64, I64]  #: rows and columns of a tile, and what is added there


class ArrayUnit(ABC):
    """The array with one `array.dataflow`. Numbers in, numbers out; steps are those of a tile."""

    name: ClassVar[str]

    @property
    def unit(self) -> str:
        """The unit of isa.registers that the processing elements are."""
        return UNIT_OF_DATAFLOW[self.name]

    @property
    def skew(self) -> str:
        """The one that the delay lines before them are."""
        return SKEW_OF_DATAFLOW[self.name]

    # ---- time ---------------------------------------------------------------------------------

    @abstractmethod
    def cycles(self, shape: TileShape) -> int:
        """Steps in which registers of a tile can be hit, those in which its last sum leaves too."""

    @abstractmethod
    def starts(self, shape: TileShape) -> tuple[int, ...]:
        """The step in which each part of the reduction begins."""

    @abstractmethod
    def moments(self, visits: Sequence[TileShape]) -> int:
        """Moments at which the sums of a tile can be hit in the output buffer."""

    @abstractmethod
    def read_steps(self, m: int, k: int, n: int) -> tuple[I64, I64]:
        """Steps of a GEMM in which its operands leave the buffers, for act (m, k) and wgt (n, k).

        They broadcast. Biases are read in step 0.
        """

    # ---- values -------------------------------------------------------------------------------

    @abstractmethod
    def step(
        self,
        act: I8,
        wgt: I8,
        start: I32,
        pes: Pes,
        flips: Sequence[Flip] = (),
        parts: Sequence[int] = (),
    ) -> tuple[I32, int]:
        """Sums start (m, n) + act (m, k) . wgt (n, k), every register stepped; and the cycles.

        parts : operands of each part of the reduction, which a stationary array takes one by one.
        Raises FlexhycaError for a flip outside the array.
        """

    @abstractmethod
    def correct(
        self,
        act: I8,
        wgt: I8,
        start: I32,
        pes: Pes,
        flips: Sequence[Flip],
        parts: Sequence[int] = (),
    ) -> Changes:
        """What the faults add to these sums, modulo 2**acc_bits; some may change by 0."""

    # ---- what is stored -----------------------------------------------------------------------

    @abstractmethod
    def count(self, shape: TileShape, register: Register, places: I64) -> Uses:
        """When what places (p, 2) of a register hold is still used, and so how often.

        register : of the units of this dataflow, or the words of the output buffer (row is the
        word) where sums stand there meanwhile.
        """

    @abstractmethod
    def hold(
        self, shape: TileShape, register: Register, row: int, col: int, step: int
    ) -> Held | None:
        """What a register holds in a step of a fault-free tile, None for nothing that is used.

        It is looked at where a fault of that step would act, so before it is read.
        """

    def owned(self, shape: TileShape, register: Register, row: int, col: int) -> tuple[int, int]:
        """First step and number of steps in which a tile has a place of a register: all.

        Fewer where it is `overlapped`: then the next tile has it, which is taken to be alike.
        """
        return 0, self.cycles(shape)

    def from_first_use(
        self, shape: TileShape, register: Register, row: int, col: int, steps: int
    ) -> tuple[int, int]:
        """So many steps from the first one in which a place of a register is used.

        A place that this tile does not use that early or late has others as many steps.
        """
        first = int(self.count(shape, register, np.array([[row, col]])).first[0, 0])
        return min(first, self.cycles(shape) - steps), steps

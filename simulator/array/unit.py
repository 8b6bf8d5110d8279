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
from numpy.typing import NDArray

from ...isa.registers import SKEW_OF_DATAFLOW, UNIT_OF_DATAFLOW, Register
from .flips import Flip
from .tile import Held, Int, Pes, Shape, Uses
from .timing import Count

Int8: TypeAlias = NDArray[np.int8]
Int32: TypeAlias = NDArray[np.int32]
Changes: TypeAlias = tuple[Int, Int, Int]  #: rows and columns of a tile, and what is added there


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
    def cycles(self, shape: Shape) -> int:
        """Steps in which registers of a tile can be hit, those in which its last sum leaves too."""

    @abstractmethod
    def gemm_cycles(self, m: Count, k: Count, n: Count, rows: int, cols: int) -> Count:
        """Cycles of a GEMM that computes m x n sums of k operands, from the first to the last."""

    @abstractmethod
    def starts(self, shape: Shape) -> tuple[int, ...]:
        """The step in which each part of the reduction begins."""

    @abstractmethod
    def moments(self, shape: Shape) -> int:
        """Moments at which the sums of a tile can be hit in the output buffer."""

    @abstractmethod
    def read_steps(self, rows: int, m: int, k: int, n: int) -> tuple[Int, Int]:
        """Steps of a GEMM in which its operands leave the buffers, for act (m, k) and wgt (n, k).

        They broadcast. Biases are read in step 0.
        """

    # ---- values -------------------------------------------------------------------------------

    @abstractmethod
    def step(
        self,
        act: Int8,
        wgt: Int8,
        start: Int32,
        pes: Pes,
        flips: Sequence[Flip] = (),
        parts: Sequence[int] = (),
    ) -> tuple[Int32, int]:
        """Sums start (m, n) + act (m, k) . wgt (n, k), every register stepped; and the cycles.

        parts : operands of each part of the reduction, which a stationary array takes one by one.
        Raises FlexhycaError for a flip outside the array.
        """

    @abstractmethod
    def correct(
        self,
        act: Int8,
        wgt: Int8,
        start: Int32,
        pes: Pes,
        flips: Sequence[Flip],
        parts: Sequence[int] = (),
    ) -> Changes:
        """What the faults add to these sums, modulo 2**acc_bits; some may change by 0."""

    # ---- what is stored -----------------------------------------------------------------------

    @abstractmethod
    def count(self, shape: Shape, register: Register, places: Int) -> Uses:
        """When what places (p, 2) of a register hold is still used, and so how often.

        register : of the units of this dataflow, or the words of the output buffer (row is the
        word) where sums stand there meanwhile.
        """

    @abstractmethod
    def hold(self, shape: Shape, register: Register, row: int, col: int, step: int) -> Held | None:
        """What a register holds in a step of a fault-free tile, None for nothing that is used.

        It is looked at where a fault of that step would act, so before it is read.
        """

    def owned(
        self, shape: Shape, register: Register, row: int, col: int, overlapped: bool
    ) -> tuple[int, int]:
        """First step and number of steps in which a tile has a place of a register: all.

        overlapped : whether the next tile's operands follow at once, into a second accumulator.
        """
        return 0, self.cycles(shape)

"""Execute a program instruction by instruction on real bytes: DRAM, buffers, slots.

This is the slow reference for values: addresses, position tables, tokens and buffer reuse all
matter here.  `functional` computes the same tensors layer by layer; tests hold the two equal.

`begin` marks what an instruction is about to write as unreadable garbage and `end` writes it, so an
execution in which a token is missing gives wrong values instead of lucky ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InternalError, ProgramError
from ...isa.descriptors import LAYER_COLUMNS
from ...isa.instructions import (
    BY_OPCODE,
    INSTRUCTIONS,
    WINDOW_FIELDS,
    Buffer,
    Engine,
    KeptMemory,
    Source,
    Table,
)
from ...isa.program import Program
from ...isa.protection import layer_columns
from ...isa.sizes import cell_bytes, operand_memory, table_bytes, weight_buffer
from ...network import fixedpoint
from ...network.arrays import I64
from ...network.layers import LayerOp
from ...tables import complete
from ..array.dataflows import DATAFLOWS
from ..array.kernels import dot
from ..array.tile import Pes
from ..text.kernels import decode_positions, gather
from ..text.work import HELD, gather_geometry, weight_address
from .address_space import AddressSpace
from .vector_unit import window_operands

_GARBAGE = 0x55

Operands = tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int32]]  #: act, weights, bias
_Step = Callable[[dict[str, int]], None]

#: Methods of `Memory` by instruction: what it spoils when it begins, and what it does in the end.
EFFECTS: dict[str, tuple[str, str]] = {
    "LOAD": ("_spoil_buffer", "_load"),
    "STORE": ("_spoil_output", "_store"),
    "GEMM": ("_spoil_slot", "_gemm"),
    "DPPU": ("_nothing", "_dppu"),
    "VEC": ("_nothing", "_vec"),
    "SETCFG": ("_nothing", "_setcfg"),
    "SYNC": ("_nothing", "_nothing"),
    "HALT": ("_nothing", "_nothing"),
}
complete(
    "INSTRUCTIONS in isa/instructions.py",
    [i.name for i in INSTRUCTIONS],
    EFFECTS,
    "simulator/machine/memory.py: EFFECTS",
)
complete(
    "Source in isa/instructions.py",
    Source,
    (Source.ARRAY, Source.BUFFER, Source.DRAM),
    "simulator/machine/memory.py: _dppu, _operands, _weights, _bias",
)


class Resident(NamedTuple):
    """Neurons that the DPPU works on: its position registers, (count, 2), and partial sums.

    A sum belongs to the entry of the table. inside : those that are in the tile; results of a
    damaged table's others go nowhere.
    """

    positions: NDArray[np.int64]
    inside: NDArray[np.bool_]
    sums: NDArray[np.int64]


class Memory:
    """All stored bytes of the machine and the meaning of each instruction on them."""

    def __init__(
        self,
        program: Program,
        inputs: NDArray[np.int8],
        registers_true: bool = False,
    ) -> None:
        """inputs : int8 (batch, h, w, c) of the program's batch.

        registers_true : compute every tile by stepping the registers of the array.
        """
        self.registers_true = registers_true
        self.streamed: list[tuple[NDArray[np.int8], NDArray[np.int8]]] = []  # parts of a tile
        self.sizes: set[tuple[int, int]] = set()  # (m, n) of the parts of a tile
        self.program, self.config = program, program.config
        self.arithmetic = program.network.arithmetic
        self.buffers = {b: np.zeros(n, np.int8) for b, n in cell_bytes(self.config).items()}
        self.addresses = AddressSpace(program, self.buffers[KeptMemory.ACTIVATION])
        self.dram = self.addresses.dram
        shape = (program.batch, *program.tensors[program.input, :3].tolist())
        if inputs.shape != shape or inputs.dtype != np.int8:
            raise InternalError(f"input {inputs.dtype} {inputs.shape}, program wants int8 {shape}")
        self.addresses.tensor(program.input)[:] = inputs
        words = self.config.tile_words
        self.sums = np.zeros(self.config.output_words, np.int32)
        self.results = np.zeros(self.config.output_words, np.int8)
        self.accumulators = np.zeros(words, np.int32)
        self.resident: dict[Source, Resident] = {}
        # operands of GEMMs with taps, as the DPPU's register files caught them
        self.tapped: deque[Operands] = deque()
        self.registers: dict[tuple[Engine, Table], int] = {}
        self._effects: dict[str, tuple[_Step, _Step]] = {
            name: (getattr(self, spoil), getattr(self, end))
            for name, (spoil, end) in EFFECTS.items()
        }

    # ---- interface ----------------------------------------------------------------------------

    def begin(self, pc: int) -> None:
        """Instruction `pc` starts: what it will write is garbage until `end`."""
        i = self._instruction(pc)
        spoil, _ = self._effects[BY_OPCODE[i["op"]].name]
        spoil(i)

    def end(self, pc: int) -> None:
        """Instruction `pc` ends: its effect happens."""
        i = self._instruction(pc)
        name = BY_OPCODE[i["op"]].name
        _, happen = self._effects[name]
        try:
            happen(i)
        except ProgramError as error:
            raise ProgramError(f"{self.program.name}: {name} at pc {pc}: {error}") from None

    def run(self) -> NDArray[np.int8]:
        """Execute the whole program in text order; returns the output tensor (batch, h, w, c)."""
        for pc in range(len(self.program.text)):
            self.begin(pc)
            self.end(pc)
        return self.output()

    def output(self) -> NDArray[np.int8]:
        """The network's output tensor: (batch, h, w, c)."""
        return self.tensor(self.program.output)

    def tensor(self, index: int) -> NDArray[np.int8]:
        """A tensor as it was stored: (batch, h, w, c)."""
        return self.addresses.written(index).copy()

    def _product(
        self, act: NDArray[np.int8], wgt: NDArray[np.int8], start: NDArray[np.int32], pc: int
    ) -> NDArray[np.int32]:
        """start (m, n) + act (m, k) . wgt (n, k), wrapped."""
        return dot(act, wgt, start, self.arithmetic.acc_bits)

    def _registers(
        self,
        act: NDArray[np.int8],
        wgt: NDArray[np.int8],
        start: NDArray[np.int32],
        pc: int,
        folds: list[int],
    ) -> NDArray[np.int32]:
        """The same of all parts of a tile, every register stepped. folds : operands of each."""
        array = self.config.array
        layer = self.program.layer_names[self.program.debug_layer[pc]]
        columns = layer_columns(self.config, layer)
        pes = Pes(array.rows, columns, self.arithmetic, overlapped=array.overlaps)
        return DATAFLOWS[array.dataflow].step(act, wgt, start, pes, parts=folds)[0]

    # ---- helpers ------------------------------------------------------------------------------

    def _instruction(self, pc: int) -> dict[str, int]:
        return {"pc": pc} | {name: int(c[pc]) for name, c in self.program.columns.items()}

    def _layer(self, engine: Engine) -> dict[str, int]:
        row = self.program.layers[self.registers[engine, Table.LAYER]]
        return dict(zip(LAYER_COLUMNS, row.tolist(), strict=True))

    def _window(self, engine: Engine) -> dict[str, int]:
        row = self.program.windows[self.registers[engine, Table.WINDOW]]
        names = (name for name, _ in WINDOW_FIELDS)
        return dict(zip(names, row.tolist(), strict=True))

    def _operands(
        self, engine: Engine, pixels: NDArray[np.int64], source: Source = Source.BUFFER
    ) -> NDArray[np.int8]:
        """Operand rows of `pixels` over the configured window: (pixels, k)."""
        layer, w = self._layer(engine), self._window(engine)
        reduction = [w[f] for f in ("ky0", "nky", "kc0", "kcc")]
        if source == Source.DRAM:
            h, width, c, address = (int(x) for x in self.program.tensors[layer["input"]])
            held = [0, self.program.batch * h, 1, 0, width, 1, 0, c]
            memory, base = self.addresses.find(address)
        elif source == Source.BUFFER:
            held = [w[f] for f in HELD]
            memory, base = self.buffers[Buffer.IFMAP], w["a_base"]
            size = w["rows"] * w["cols"] * w["cc"]
            if min(held) < 0 or base < 0 or base + size > len(memory):
                raise self._outside(f"window at {base} of {size} bytes lies", Buffer.IFMAP)
        else:
            raise _no_memory(source)
        out = np.empty((len(pixels), w["nky"] * layer["kernel_w"] * w["kcc"]), np.int8)
        bad = gather(
            memory,
            base,
            np.array(held + reduction, np.int64),
            gather_geometry(self.program, layer),
            pixels,
            out,
        )
        if bad >= 0:
            raise ProgramError(f"pixel {pixels[bad]} needs operands that its window does not hold")
        return out

    def _weights(
        self, engine: Engine, channels: NDArray[np.int64], k: int, source: Source
    ) -> NDArray[np.int8]:
        """Weight rows of absolute output `channels` over the configured window: (channels, k)."""
        w = self._window(engine)
        if source == Source.DRAM:
            layer = self._layer(engine)
            row = self.program.windows[self.registers[engine, Table.WINDOW]]
            starts = [weight_address(self.program, layer, row, int(n)) for n in channels]
            memory = self.dram
        elif source == Source.BUFFER:
            starts = [w["b_base"] + (int(n) - w["n_base"]) * k for n in channels]
            memory = self.buffers[weight_buffer(self.config)]
        else:
            raise _no_memory(source)
        if min(starts) < 0 or max(starts) + k > len(memory):
            raise self._outside("a window's weights lie", Buffer.WEIGHT)
        return np.stack([memory[at : at + k] for at in starts])

    def _bias(
        self, engine: Engine, channels: NDArray[np.int64], source: Source
    ) -> NDArray[np.int32]:
        w, layer = self._window(engine), self._layer(engine)
        if source == Source.DRAM:
            memory, first = self.dram, layer["bias_addr"] + 4 * channels
        elif source == Source.BUFFER:
            memory = self.buffers[weight_buffer(self.config)]
            first = w["bias_base"] + 4 * (channels - w["n_base"])
        else:
            raise _no_memory(source)
        if first.min() < 0 or first.max() + 4 > len(memory):
            raise self._outside("a window's biases lie", Buffer.WEIGHT)
        words: NDArray[np.int32] = memory[first[:, None] + np.arange(4)].copy().view(np.int32)
        return words[:, 0]

    def _outside(self, what: str, buffer: Buffer) -> ProgramError:
        return ProgramError(f"{what} outside the {operand_memory(self.config, buffer)}")

    def _output_rows(self, i: dict[str, int]) -> list[NDArray[np.int8]]:
        """The tile's elements, (m, n) views: where they are stored, and as they were written."""
        output, space = self._layer(Engine.STORE)["output"], self.addresses
        return [
            tensor.reshape(-1, tensor.shape[-1])[
                i["m0"] : i["m0"] + i["m"], i["n0"] : i["n0"] + i["n"]
            ]
            for tensor in (space.tensor(output), space.written(output))
        ]

    # ---- instructions -------------------------------------------------------------------------

    def _nothing(self, i: dict[str, int]) -> None:
        """No stored value changes."""

    def _spoil_buffer(self, i: dict[str, int]) -> None:
        size = i["row_bytes"] * i["count"]
        self.buffers[Buffer(i["buffer"])][i["buf_addr"] : i["buf_addr"] + size] = _GARBAGE

    def _spoil_slot(self, i: dict[str, int]) -> None:
        if i["first"]:
            self.sums[self._slot(Engine.ARRAY, i)] = _GARBAGE

    def _spoil_output(self, i: dict[str, int]) -> None:
        self._output_rows(i)[0][:] = _GARBAGE

    def _setcfg(self, i: dict[str, int]) -> None:
        self.registers[Engine(i["engine"]), Table(i["table"])] = i["index"]

    def _load(self, i: dict[str, int]) -> None:
        size, at = i["row_bytes"] * i["count"], i["buf_addr"]
        memory, first = self.addresses.find(i["dram_addr"])
        rows = first + np.arange(i["count"])[:, None] * i["stride"]
        data = memory[rows + np.arange(i["row_bytes"])]
        self.buffers[Buffer(i["buffer"])][at : at + size] = data.reshape(-1)

    def _gemm(self, i: dict[str, int]) -> None:
        m, n = i["m"], i["n"]
        act, wgt, bias = self._stream(i)
        start = self.accumulators[: m * n].reshape(m, n)
        if i["first"]:
            start = np.tile(bias, (m, 1))
        elif i["resume"]:
            start = self.sums[self._slot(Engine.ARRAY, i)].reshape(m, n).copy()
        if i["first"] or i["resume"]:
            self.streamed.clear()
            self.sizes.clear()
        self.sizes.add((m, n))
        if len(self.sizes) > 1:
            raise ProgramError("the parts of a tile differ in size")
        if i["tap"]:
            self.tapped.append((act, wgt, bias))
        if not self._at_once(i["pc"]):
            self.accumulators[: m * n] = self._product(act, wgt, start, i["pc"]).reshape(-1)
        else:
            # The parts of a reduction follow each other without a gap: one stream of operands.
            self.streamed.append((act, wgt))
            self.accumulators[: m * n] = start.reshape(-1)
            if i["last"]:
                act, wgt = (np.concatenate(parts, 1) for parts in zip(*self.streamed, strict=True))
                folds = [part.shape[1] for part, _ in self.streamed]
                self.streamed.clear()
                sums = self._registers(act, wgt, start, i["pc"], folds)
                self.accumulators[: m * n] = sums.reshape(-1)
        if i["last"]:
            self.sizes.clear()
            self.sums[self._slot(Engine.ARRAY, i)] = self.accumulators[: m * n]

    def _at_once(self, pc: int) -> bool:
        """Whether all parts of a tile's reduction are computed together, at the last."""
        return self.registers_true

    def _stream(self, i: dict[str, int]) -> Operands:
        """What the array reads from the buffers: (m, k), (n, k), (n,); 0 where it has the bias."""
        pixels = np.arange(i["m0"], i["m0"] + i["m"])
        channels = np.arange(i["n0"], i["n0"] + i["n"])
        act = self._operands(Engine.ARRAY, pixels)
        wgt = self._weights(Engine.ARRAY, channels, act.shape[1], Source.BUFFER)
        if i["k"]:  # one fold of a stationary array
            part = slice(i["k0"], i["k0"] + i["k"])
            act, wgt = act[:, part], wgt[:, part]
        bias = np.zeros(i["n"], np.int32)
        if i["first"]:
            bias = self._bias(Engine.ARRAY, channels, Source.BUFFER)
        return act, wgt, bias

    def _dppu(self, i: dict[str, int]) -> None:
        source = Source(i["source"])
        tapped = self._collect_tap(i) if source == Source.ARRAY else None
        positions = self._decode(i)
        sums = np.zeros(len(positions), np.int64)
        if not i["first"]:
            before = self.resident.get(source)
            if before is None or len(before.sums) != len(sums):
                raise ProgramError(
                    f"the DPPU goes on with {len(sums)} neurons of slot {i['slot']} that it has "
                    "not begun"
                )
            sums = before.sums
        # A damaged table may point outside the tile.
        inside = within(positions, i["m"], i["n"])
        held = self.resident[source] = Resident(positions, inside, sums)
        held = self.resident[source] = self._dppu_sums(i, source, held, tapped)
        if i["last"]:
            rows, cols = held.positions[held.inside].T
            self.sums[self._slot(Engine.DPPU, i)][rows * i["n"] + cols] = held.sums[held.inside]

    def _dppu_sums(
        self, i: dict[str, int], source: Source, held: Resident, tapped: Operands | None
    ) -> Resident:
        """The neurons after this part of the reduction."""
        at, sums = np.flatnonzero(held.inside), held.sums.copy()
        if not len(at):
            return held
        rows, row = np.unique(held.positions[at, 0], return_inverse=True)
        columns, col = np.unique(held.positions[at, 1], return_inverse=True)
        if tapped is not None:
            act, wgt, bias = tapped
            if act.shape[0] <= rows[-1] or wgt.shape[0] <= columns[-1]:
                raise ProgramError("the taps hold the operands of a smaller tile")
            act, wgt, bias = act[rows], wgt[columns], bias[columns]
        else:
            act, wgt, bias = self._fetched(i, source, rows, columns)
        start = bias[col] if i["first"] else sums[at]
        products = np.einsum("ik,ik->i", act[row].astype(np.int64), wgt[col].astype(np.int64))
        sums[at] = fixedpoint.wrap(start + products, self.arithmetic.acc_bits)
        return held._replace(sums=sums)

    def _fetched(
        self, i: dict[str, int], source: Source, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Operands:
        """Operands of a tile's rows and columns that the DPPU reads itself."""
        channels = i["n0"] + columns
        act = self._operands(Engine.DPPU, i["m0"] + rows, source)
        wgt = self._weights(Engine.DPPU, channels, act.shape[1], source)
        return act, wgt, self._bias(Engine.DPPU, channels, source)

    def _decode(self, i: dict[str, int]) -> NDArray[np.int64]:
        """The position table of a DPPU instruction: (count, 2)."""
        table = self.buffers[Buffer.POSITION].view(np.uint8)[i["pos_addr"] :]
        own = table_bytes(i["format"], i["count"], self.config.position_bits, i["m"] * i["n"])
        positions: NDArray[np.int64] = decode_positions(
            table[: int(own)],
            i["format"],
            i["count"],
            i["n"],
            self.config.position_column_bits,
            self.config.position_bits,
        )
        # Bits of a bitmap behind the tile's last are no neurons.
        positions[positions[:, 0] >= self.config.array.rows] = -1
        return positions

    def _collect_tap(self, i: dict[str, int]) -> Operands:
        """What the operand taps caught of the tile of `i`."""
        if not self.tapped:
            raise ProgramError(
                f"the DPPU collects the taps of slot {i['slot']} before their GEMM has ended; "
                "check the wait and post fields"
            )
        return self.tapped.popleft()

    def _vec(self, i: dict[str, int]) -> None:
        layer = self.program.network.layers[self.registers[Engine.STORE, Table.LAYER]]
        value, residual = _OPERANDS[layer.op](self, i)
        stored = fixedpoint.vector_unit(value, layer, self.arithmetic, residual)
        self.results[self._slot(Engine.STORE, i)] = stored.reshape(-1)

    def _slot(self, engine: Engine, i: dict[str, int], field: str = "slot") -> slice:
        """The words of a tile in the slot that an instruction names."""
        at = i[field] * self._layer(engine)["slot_words"]
        return slice(at, at + i["m"] * i["n"])

    def _of_slot(self, i: dict[str, int]) -> tuple[I64, I64 | None]:
        """Sums of the array and the DPPU in the output buffer, and the residual beside them."""
        m, n = i["m"], i["n"]
        sums = self.sums[self._slot(Engine.STORE, i)].reshape(m, n).astype(np.int64)
        if self._layer(Engine.STORE)["residual"] < 0:
            return sums, None
        own = self._slot(Engine.STORE, i, "res_slot")
        other = self.buffers[Buffer.OUTPUT][own].reshape(m, n)
        return sums, fixedpoint.wrap(other, self.arithmetic.act_bits)

    def _of_window(self, i: dict[str, int]) -> tuple[I64, I64 | None]:
        """Elements of the inputs' memory."""
        layer, window = self._layer(Engine.STORE), self._window(Engine.STORE)
        return window_operands(self.program, layer, window, i, self._elements)

    def _elements(self, base: int, count: int) -> NDArray[np.int64]:
        """What the vector unit reads from the inputs' memory."""
        read = self.buffers[Buffer.IFMAP][base : base + count]
        if base < 0 or len(read) != count:
            raise self._outside(f"window at {base} of {count} bytes lies", Buffer.IFMAP)
        return fixedpoint.wrap(read, self.arithmetic.act_bits)

    def _store(self, i: dict[str, int]) -> None:
        own = self._slot(Engine.STORE, i)
        for rows in self._output_rows(i):
            rows[:] = self.results[own].reshape(i["m"], i["n"])


def _no_memory(source: Source) -> InternalError:
    return InternalError(f"simulator/machine/memory.py: no operands stand in {source.name}")


#: Operation -> where the vector unit finds the value and the residual of a tile's elements.
_OPERANDS: dict[LayerOp, Callable[[Memory, dict[str, int]], tuple[I64, I64 | None]]] = {
    LayerOp.CONV: Memory._of_slot,
    LayerOp.MAXPOOL: Memory._of_window,
    LayerOp.AVGPOOL: Memory._of_window,
    LayerOp.ADD: Memory._of_window,
    LayerOp.COPY: Memory._of_window,
}
complete(
    "LayerOp in network/layers.py", LayerOp, _OPERANDS, "simulator/machine/memory.py: _OPERANDS"
)


def within(positions: NDArray[np.int64], m: int, n: int) -> NDArray[np.bool_]:
    """Which positions, (count, 2), are in a tile of m x n."""
    rows, cols = positions[:, 0], positions[:, 1]
    return (rows >= 0) & (cols >= 0) & (rows < m) & (cols < n)

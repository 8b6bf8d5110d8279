"""Execute a program instruction by instruction on real bytes: DRAM, buffers, slots.

This is the slow reference for values: addresses, position tables, tokens and buffer reuse all
matter here.  `functional` computes the same tensors layer by layer; tests hold the two equal.

`begin` marks what an instruction is about to write as unreadable garbage and `end` writes it, so an
execution in which a token is missing gives wrong values instead of lucky ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..errors import FlexhycaError, InternalError, ProgramError
from ..isa import fixedpoint
from ..isa.instructions import BY_OPCODE, WINDOW_FIELDS, Buffer, Engine, Source, Table
from ..isa.layers import LAYER_COLUMNS, LayerOp
from ..isa.program import Program
from . import kernels
from .stepper import Flip, os_tile
from .stepper_stationary import is_fold, ws_fold
from .work import gather_geometry, weight_address

_GARBAGE = 0x55


class Memory:
    """All stored bytes of the machine and the meaning of each instruction on them."""

    def __init__(
        self,
        program: Program,
        inputs: NDArray[np.int8],
        registers_true: bool = False,
        flips: Mapping[int, Sequence[Flip]] = MappingProxyType({}),
    ) -> None:
        """inputs : int8 (batch, h, w, c) of the program's batch.

        registers_true : compute every tile by stepping the registers of the array.
        flips : in the registers of the array, by the pc of a tile's last GEMM (or fold); steps
        count from the start of the tile. They need registers_true.
        """
        if flips and not registers_true:
            raise InternalError("flips of registers, and no registers are stepped")
        self.registers_true, self.flips = registers_true, flips
        self.streamed: list[tuple[NDArray[np.int8], NDArray[np.int8]]] = []  # parts of a tile
        self.program, self.config = program, program.config
        self.arithmetic = program.network.arithmetic
        base, size = program.memory_map["activations"]
        try:
            self.dram = np.zeros(base + size, np.int8)
        except MemoryError:
            raise FlexhycaError(
                f"{program.name}: {base + size} bytes of DRAM do not fit this computer's memory; "
                "use values 'fast' or 'none'"
            ) from None
        for region, data in (
            ("weights", program.weights),
            ("bias", program.bias.view(np.int8)),
            ("positions", program.positions.view(np.int8)),
        ):
            at, nbytes = program.memory_map[region]
            self.dram[at : at + nbytes] = data
        shape = (program.batch, *program.tensors[program.input, :3].tolist())
        if inputs.shape != shape or inputs.dtype != np.int8:
            raise InternalError(f"input {inputs.dtype} {inputs.shape}, program wants int8 {shape}")
        self._tensor(program.input)[:] = inputs
        buffers = self.config.buffers
        sizes = {
            Buffer.IFMAP: buffers.ifmap_bytes,
            Buffer.WEIGHT: buffers.weight_bytes,
            Buffer.POSITION: buffers.position_bytes,
            Buffer.OUTPUT: self.config.residual_slots_bytes,
        }
        self.buffers = {b: np.zeros(n, np.int8) for b, n in sizes.items()}
        words = self.config.tile_words
        self.slots = np.zeros((self.config.output_slots, words), np.int32)
        self.results = np.zeros((self.config.output_slots, words), np.int8)
        self.accumulators = np.zeros(words, np.int32)
        self.partial_sums: dict[tuple[int, int], int] = {}  # (source, word) -> sum
        # operands of GEMMs with taps, as the DPPU's register files caught them: (act, wgt, bias)
        self.tapped: deque[tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int32]]] = deque()
        self.registers: dict[tuple[Engine, Table], int] = {}
        self._execute: dict[str, Callable[[dict[str, int]], None]] = {
            "LOAD": self._load,
            "STORE": self._store,
            "GEMM": self._gemm,
            "DPPU": self._dppu,
            "VEC": self._vec,
            "SETCFG": self._setcfg,
            "SYNC": self._nothing,
            "HALT": self._nothing,
        }

    # ---- interface ----------------------------------------------------------------------------

    def begin(self, pc: int) -> None:
        """Instruction `pc` starts: what it will write is garbage until `end`."""
        i = self._instruction(pc)
        match BY_OPCODE[i["op"]].name:
            case "LOAD":
                size = i["row_bytes"] * i["count"]
                self.buffers[Buffer(i["buffer"])][i["buf_addr"] : i["buf_addr"] + size] = _GARBAGE
            case "GEMM" if i["first"]:
                self.slots[i["slot"], : i["m"] * i["n"]] = _GARBAGE
            case "STORE":
                self._output_rows(i)[:] = _GARBAGE

    def end(self, pc: int) -> None:
        """Instruction `pc` ends: its effect happens."""
        i = self._instruction(pc)
        name = BY_OPCODE[i["op"]].name
        try:
            self._execute[name](i)
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
        return self._tensor(self.program.output).copy()

    def tensor(self, index: int) -> NDArray[np.int8]:
        """A tensor as it stands in DRAM: (batch, h, w, c)."""
        return self._tensor(index).copy()

    def _product(
        self, act: NDArray[np.int8], wgt: NDArray[np.int8], start: NDArray[np.int32], pc: int
    ) -> NDArray[np.int32]:
        """start (m, n) + act (m, k) . wgt (n, k), wrapped."""
        if not self.registers_true:
            return kernels.dot(act, wgt, start, self.arithmetic.acc_bits)
        array = self.config.array
        step = {"os": os_tile, "ws": ws_fold, "is": is_fold}[array.dataflow]
        out, _ = step(
            act,
            wgt,
            start,
            rows=array.rows,
            cols=array.cols,
            arithmetic=self.arithmetic,
            flips=self.flips.get(pc, ()),
        )
        return out

    # ---- helpers ------------------------------------------------------------------------------

    def _instruction(self, pc: int) -> dict[str, int]:
        return {"pc": pc} | {name: int(c[pc]) for name, c in self.program.columns.items()}

    def _tensor(self, index: int) -> NDArray[np.int8]:
        h, w, c, at = (int(x) for x in self.program.tensors[index])
        size = self.program.batch * h * w * c
        return self.dram[at : at + size].reshape(self.program.batch, h, w, c)

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
            h, width, c, base = (int(x) for x in self.program.tensors[layer["input"]])
            held = [0, self.program.batch * h, 0, width, 0, c]
            memory = self.dram
        else:
            held = [w[f] for f in ("row0", "rows", "col0", "cols", "c0", "cc")]
            memory, base = self.buffers[Buffer.IFMAP], w["a_base"]
            size = w["rows"] * w["cols"] * w["cc"]
            if min(held) < 0 or base < 0 or base + size > len(memory):
                raise ProgramError(
                    f"window at {base} of {size} bytes lies outside the ifmap buffer"
                )
        out = np.empty((len(pixels), w["nky"] * layer["kernel_w"] * w["kcc"]), np.int8)
        bad = kernels.gather(
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
        else:
            starts = [w["b_base"] + (int(n) - w["n_base"]) * k for n in channels]
            memory = self.buffers[Buffer.WEIGHT]
        if min(starts) < 0 or max(starts) + k > len(memory):
            raise ProgramError("a window's weights lie outside the weight buffer")
        return np.stack([memory[at : at + k] for at in starts])

    def _bias(
        self, engine: Engine, channels: NDArray[np.int64], source: Source
    ) -> NDArray[np.int32]:
        w, layer = self._window(engine), self._layer(engine)
        if source == Source.DRAM:
            memory, first = self.dram, layer["bias_addr"] + 4 * channels
        else:
            memory = self.buffers[Buffer.WEIGHT]
            first = w["bias_base"] + 4 * (channels - w["n_base"])
        if first.min() < 0 or first.max() + 4 > len(memory):
            raise ProgramError("a window's biases lie outside the weight buffer")
        words: NDArray[np.int32] = memory[first[:, None] + np.arange(4)].copy().view(np.int32)
        return words[:, 0]

    def _output_rows(self, i: dict[str, int]) -> NDArray[np.int8]:
        """The tile's elements in DRAM: (m, n) view."""
        tensor = self._tensor(self._layer(Engine.STORE)["output"])
        flat = tensor.reshape(-1, tensor.shape[-1])
        return flat[i["m0"] : i["m0"] + i["m"], i["n0"] : i["n0"] + i["n"]]

    # ---- instructions -------------------------------------------------------------------------

    def _nothing(self, i: dict[str, int]) -> None:
        """SYNC and HALT change no stored value."""

    def _setcfg(self, i: dict[str, int]) -> None:
        self.registers[Engine(i["engine"]), Table(i["table"])] = i["index"]

    def _load(self, i: dict[str, int]) -> None:
        size, at = i["row_bytes"] * i["count"], i["buf_addr"]
        rows = i["dram_addr"] + np.arange(i["count"])[:, None] * i["stride"]
        data = self.dram[rows + np.arange(i["row_bytes"])]
        self.buffers[Buffer(i["buffer"])][at : at + size] = data.reshape(-1)

    def _gemm(self, i: dict[str, int]) -> None:
        m, n = i["m"], i["n"]
        pixels, channels = np.arange(i["m0"], i["m0"] + m), np.arange(i["n0"], i["n0"] + n)
        act = self._operands(Engine.ARRAY, pixels)
        wgt = self._weights(Engine.ARRAY, channels, act.shape[1], Source.BUFFER)
        if i["k"]:  # one fold of a stationary array
            part = slice(i["k0"], i["k0"] + i["k"])
            act, wgt = act[:, part], wgt[:, part]
        start = self.accumulators[: m * n].reshape(m, n)
        bias = np.zeros(n, np.int32)
        if i["first"]:
            bias = self._bias(Engine.ARRAY, channels, Source.BUFFER)
            start = np.tile(bias, (m, 1))
        if i["tap"]:
            self.tapped.append((act, wgt, bias))
        if self.registers_true and self.config.array.dataflow == "os":
            # The parts of a reduction follow each other without a gap: one stream of operands.
            self.streamed.append((act, wgt))
            if not i["last"]:
                self.accumulators[: m * n] = start.reshape(-1)
                return
            act, wgt = (np.concatenate(parts, 1) for parts in zip(*self.streamed, strict=True))
            self.streamed.clear()
        self.accumulators[: m * n] = self._product(act, wgt, start, i["pc"]).reshape(-1)
        if i["last"]:
            self.slots[i["slot"], : m * n] = self.accumulators[: m * n]

    def _dppu(self, i: dict[str, int]) -> None:
        source = Source(i["source"])
        table = self.buffers[Buffer.POSITION].view(np.uint8)[i["pos_addr"] :]
        if i["format"]:
            table = table[: (i["m"] * i["n"] + 7) // 8]
        positions = kernels.decode_positions(
            table,
            i["format"],
            i["count"],
            i["n"],
            self.config.position_column_bits,
            self.config.position_bits,
        )
        # A damaged table may point outside the tile; such results are written nowhere.
        inside = (positions >= 0).all(1) & (positions < (i["m"], i["n"])).all(1)
        positions = positions[inside]
        if not len(positions):
            if source == Source.ARRAY:
                self._collect_tap(i)
            return
        rows, row = np.unique(positions[:, 0], return_inverse=True)
        columns, col = np.unique(positions[:, 1], return_inverse=True)
        if source == Source.ARRAY:
            act, wgt, bias = self._collect_tap(i)
            act, wgt, bias = act[rows], wgt[columns], bias[columns]
        else:
            channels = i["n0"] + columns
            act = self._operands(Engine.DPPU, i["m0"] + rows, source)
            wgt = self._weights(Engine.DPPU, channels, act.shape[1], source)
            bias = self._bias(Engine.DPPU, channels, source)
        for (r, c), ri, ci in zip(positions.tolist(), row.tolist(), col.tolist(), strict=True):
            word = r * i["n"] + c
            if not i["first"] and (source, word) not in self.partial_sums:
                raise ProgramError(
                    f"the DPPU goes on with neuron ({r}, {c}) of slot {i['slot']}, which it has "
                    "not begun; check its position tables"
                )
            start = int(bias[ci]) if i["first"] else self.partial_sums[source, word]
            total = start + int(act[ri].astype(np.int64) @ wgt[ci].astype(np.int64))
            self.partial_sums[source, word] = int(fixedpoint.wrap(total, self.arithmetic.acc_bits))
            if i["last"]:
                self.slots[i["slot"], word] = self.partial_sums[source, word]

    def _collect_tap(
        self, i: dict[str, int]
    ) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int32]]:
        """What the operand taps caught of the tile of `i`."""
        if not self.tapped:
            raise ProgramError(
                f"the DPPU collects the taps of slot {i['slot']} before their GEMM has ended; "
                "check the wait and post fields"
            )
        return self.tapped.popleft()

    def _vec(self, i: dict[str, int]) -> None:
        layer, a = self._layer(Engine.STORE), self.arithmetic
        m, n, op = i["m"], i["n"], LayerOp(layer["op"])
        if op == LayerOp.CONV:
            acc = self.slots[i["slot"], : m * n].reshape(m, n)
            value = fixedpoint.requantise(acc, layer["shift"], a.act_bits, a.rounding, a.overflow)
            if layer["residual"] >= 0:
                at = i["res_slot"] * self.slots.shape[1]
                other = self.buffers[Buffer.OUTPUT][at : at + m * n].reshape(m, n)
                value = self._add(layer, value, other.astype(np.int64))
        else:
            value = self._vec_window(layer, op, i)
        value = np.clip(value, layer["act_lo"], layer["act_hi"])
        self.results[i["slot"], : m * n] = value.reshape(-1)

    def _add(
        self, layer: dict[str, int], a: NDArray[np.int64], b: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        return fixedpoint.add(
            a,
            b,
            layer["lshift_a"],
            layer["lshift_b"],
            layer["add_shift"],
            self.arithmetic.act_bits,
            self.arithmetic.rounding,
        )

    def _vec_window(
        self, layer: dict[str, int], op: LayerOp, i: dict[str, int]
    ) -> NDArray[np.int64]:
        """Pool, add or copy: read the window's elements straight from the ifmap buffer."""
        w = self._window(Engine.STORE)
        buffer = self.buffers[Buffer.IFMAP].astype(np.int64)
        size = w["rows"] * w["cols"] * w["cc"]
        held = buffer[w["a_base"] : w["a_base"] + size].reshape(w["rows"], w["cols"], w["cc"])
        ih, iw, oh, ow, kw, sh, sw, pt, pl, dh, dw = gather_geometry(self.program, layer).tolist()
        channels = np.arange(i["n0"], i["n0"] + i["n"]) - layer["c_offset"]
        cin = int(self.program.tensors[layer["input"]][2])
        exists = (channels >= 0) & (channels < cin)
        at = channels[exists] - w["c0"]
        if at.size and (at.min() < 0 or at.max() >= w["cc"]):
            raise ProgramError("the vector unit needs channels that its window does not hold")
        out = np.zeros((i["m"], i["n"]), np.int64)
        for row, pixel in enumerate(range(i["m0"], i["m0"] + i["m"])):
            image, rest = divmod(pixel, oh * ow)
            oy, ox = divmod(rest, ow)
            ys = _inside(oy * sh - pt, dh, layer["kernel_h"], ih)
            xs = _inside(ox * sw - pl, dw, kw, iw)
            if not ys or not xs:
                continue
            top, left = image * ih - w["row0"], -w["col0"]
            if (
                min(ys[0] + top, xs[0] + left) < 0
                or ys[-1] + top >= w["rows"]
                or xs[-1] + left >= w["cols"]
            ):
                raise ProgramError(f"pixel {pixel} needs operands that its window does not hold")
            part = held[ys[0] + top : ys[-1] + top + 1 : dh, xs[0] + left : xs[-1] + left + 1 : dw][
                ..., at
            ]
            out[row, exists] = part.max((0, 1)) if op == LayerOp.MAXPOOL else part.sum((0, 1))
        if op == LayerOp.AVGPOOL:
            a = self.arithmetic
            return fixedpoint.requantise(out, layer["shift"], a.act_bits, a.rounding, a.overflow)
        if op == LayerOp.ADD:
            start = w["b_base"]
            other = buffer[start : start + size].reshape(-1, w["cc"])
            first = i["m0"] - w["row0"] * ow
            if first < 0 or first + i["m"] > len(other):
                raise ProgramError(f"pixel {i['m0']} needs operands that its window does not hold")
            return self._add(layer, out, other[first : first + i["m"], at])
        return out

    def _store(self, i: dict[str, int]) -> None:
        m, n = i["m"], i["n"]
        self._output_rows(i)[:] = self.results[i["slot"], : m * n].reshape(m, n)


def _inside(first: int, step: int, count: int, size: int) -> range:
    """Of `count` places from `first` on, `step` apart, those in 0..size-1."""
    begin = max(0, -(first // step))
    end = min(count, (size - 1 - first) // step + 1)
    return range(first + begin * step, first + end * step, step) if begin < end else range(0)

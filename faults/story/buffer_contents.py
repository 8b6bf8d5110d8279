"""What words of the buffers hold in the fault-free run, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...errors import InternalError
from ...isa.descriptors import LAYER_COLUMNS
from ...isa.instructions import KeptMemory
from ...isa.program import chunks
from ...isa.registers import BY_UNIT, all_handled
from ...simulator.array.tile import Held
from ...simulator.inject.fault_plan import make_plan
from ...simulator.inject.fault_run import FaultRun
from ...simulator.inject.sites import FLIP, Site
from ...simulator.inject.units import ArrayInTile
from ...simulator.text.spans import Span
from .contents import Content, number_of, operands_of, output_of


def _output(run: FaultRun, span: Span, site: Site) -> Content:
    if site.row >= span.m * span.n:
        return Content(site.cycle)
    row, col = divmod(site.row, span.n)
    at, bits = output_of(run, span, row, col), run.network.arithmetic.acc_bits
    visits = run.spans.visits(span)
    last = visits[-1].k0 + visits[-1].shape.k
    if not run.program.config.array.keeps_sums:
        array = ArrayInTile(span, run.spans)
        held = array.hold(BY_UNIT["buffer"][site.register], site.row, 0, site.cycle)
        assert held is not None
    elif site.cycle < len(visits) - 1:  # parked
        held = Held("sum", row, col, 0, visits[site.cycle + 1].k0, start=True)
    else:
        number = int(run.difference.accumulators(span.layer).reshape(-1)[_element(run, span, site)])
        when = "before" if site.cycle == len(visits) - 1 else "after"
        return Content(site.cycle, f"finished sum of {at}, {when} the DPPU's merge", number, bits)
    bias = int(operands_of(run, span).start[col])
    meaning = f"sum of {at} after {held.end} of {last} products (bias {bias})"
    return Content(site.cycle, meaning, number_of(run, span, held, bits), bits)


def _element(run: FaultRun, span: Span, site: Site) -> int:
    row, col = (np.array([i]) for i in divmod(site.row, span.n))
    return int(run.spans.elements(span, row, col)[0])


def _result(run: FaultRun, span: Span, site: Site) -> Content:
    if site.row >= span.m * span.n:
        return Content(site.cycle)
    layer = run.network.layers[span.layer]
    number = int(run.difference.golden(layer.output).reshape(-1)[_element(run, span, site)])
    at = output_of(run, span, *divmod(site.row, span.n))
    name = run.network.tensors[layer.output].name
    return Content(site.cycle, f"element {at} of {name}", number, run.network.arithmetic.act_bits)


def _byte(run: FaultRun, span: Span, site: Site) -> Content:
    """A byte that the last LOAD, or STORE, before the fault has brought."""
    (word,) = make_plan([site], run.spans).words
    c, own = run.program.columns, run.reads.writers((word.buffer, word.address))
    before = int(np.searchsorted(own, word.begin[0]))  # those before the fault
    done = "stored" if word.buffer == KeptMemory.ACTIVATION else "loaded"
    if not before and (site.stuck == FLIP or not own):
        return Content(site.cycle, f"nothing has been {done} there yet", 0, 8)
    pc = own[max(0, before - 1)]  # of a stuck bit the first that is wrong
    if word.buffer == KeptMemory.ACTIVATION:
        meaning, number = _element_at(
            run,
            run.network.layers[int(run.program.debug_layer[pc])].output,
            run.program.config.activation_base + word.address,
        )
        return Content(site.cycle, f"{meaning}, stored at pc {pc}", number, 8)
    line, at = divmod(word.address - int(c["buf_addr"][pc]), int(c["row_bytes"][pc]))
    address = int(c["dram_addr"][pc]) + line * int(c["stride"][pc]) + at
    meaning, number = _dram(run, pc, address)
    return Content(site.cycle, f"{meaning}, loaded at pc {pc}", number, 8)


def _dram(run: FaultRun, pc: int, address: int) -> tuple[str, int]:
    """What a LOAD reads at an address of DRAM."""
    program, index = run.program, int(run.program.debug_layer[pc])
    row = dict(zip(LAYER_COLUMNS, program.layers[index].tolist(), strict=True))
    layer = program.layer_names[index]
    for region, constants in (
        ("weights", program.weights),
        ("bias", program.bias.view(np.int8)),
        ("positions", program.positions.view(np.int8)),
    ):
        base, size = program.memory_map[region]
        if base <= address < base + size:
            number = int(constants[address - base])
            if region == "bias":
                channel, byte = divmod(address - row["bias_addr"], 4)
                return f"byte {byte} of the bias of channel {channel} of {layer}", number
            if region == "weights":
                return _weight(run, index, address - row["weight_addr"]), number
            return f"a byte of the position tables of {layer}", number
    for tensor in (row["input"], row["residual"]):
        if tensor >= 0:
            base = int(program.tensors[tensor][3])
            if base <= address < base + run.network.tensors[tensor].elements:
                return _element_at(run, tensor, address)
    raise InternalError(f"LOAD at pc {pc} reads DRAM byte {address}, which is none of {layer}'s")


def _element_at(run: FaultRun, tensor: int, address: int) -> tuple[str, int]:
    """The element of a tensor that lies at an address."""
    own, at = run.network.tensors[tensor], address - int(run.program.tensors[tensor][3])
    place, channel = divmod(at, own.c)
    y, x = divmod(place, own.w)
    number = int(run.difference.golden(tensor).reshape(-1)[at])
    return f"element ({y}, {x}, channel {channel}) of {own.name}", number


def _weight(run: FaultRun, index: int, at: int) -> str:
    """A weight of a layer, by its place in DRAM: [group][chunk][channel][k]."""
    layer, row = run.network.layers[index], run.program.layers[index].tolist()
    values = dict(zip(LAYER_COLUMNS, row, strict=True))
    outputs, kernel_h, kernel_w, inputs = run.network.weights[index].shape
    per_group = outputs // layer.groups
    group, at = divmod(at, per_group * kernel_h * kernel_w * inputs)
    for ky0, nky, c0, cc in chunks(kernel_h, inputs, values["chunk_ky"], values["chunk_c"]):
        size = nky * kernel_w * cc
        if at >= per_group * size:
            at -= per_group * size
            continue
        channel, k = divmod(at, size)
        place, c = divmod(k, cc)
        ky, kx = divmod(place, kernel_w)
        return (
            f"weight ({ky0 + ky}, {kx}, channel {group * inputs + c0 + c}) of output channel "
            f"{group * per_group + channel} of {layer.name}"
        )
    raise InternalError(f"{layer.name} has {at} weights less")


class _Word(NamedTuple):
    """What is told of a word. name : of where it stands. content : what it holds."""

    name: str
    content: Callable[[FaultRun, Span, Site], Content]


#: Words that hold values.
_WORDS = {
    "ifmap": _Word("byte {row} of the ifmap buffer", _byte),
    "weight": _Word("byte {row} of the weight buffer", _byte),
    "scratchpad": _Word("byte {row} of the scratchpad", _byte),
    "activation": _Word("byte {row} of the activation memory", _byte),
    "residual": _Word("byte {row} of the residual slots", _byte),
    "output": _Word("word {row} of the tile in the output buffer", _output),
    "result": _Word("word {row} of the tile in the results of VEC", _result),
    "position": _Word("byte {row} of the position buffer", _byte),
}
#: An instruction is told by `explain`.
all_handled("buffer", [*_WORDS, "instruction"], "faults/story/buffer_contents.py: _WORDS")


def word_content(run: FaultRun, span: Span, site: Site) -> Content:
    """Of a word of a buffer, in the moment of the fault."""
    return _WORDS[site.register].content(run, span, site)


def word_place(site: Site) -> str:
    """A word of a buffer."""
    return _WORDS[site.register].name.format(row=site.row)

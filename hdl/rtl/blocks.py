"""The output-stationary array in MyHDL, register for register as the simulator steps it.

The same registers, copies and voters (with feedback) as `simulator.array.os_array`, and a flip
input for every stored bit, so that a fault plan can be played in MyHDL, Icarus and Verilator.
Which columns are protected is an input: what a layer's shift selects (`protect_prod`,
`protect_acc`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from myhdl import ConcatSignal, Signal, always, always_comb, block, intbv, modbv

from ...config import Arithmetic
from ...isa.protection import COPIES
from ...isa.registers import BY_UNIT, all_handled
from ..netlist.pe import Datapath

#: Registers in the order of the flip inputs of a PE.
_FLIPPED = ("act", "wgt", "prod", "acc")
all_handled("array", _FLIPPED, "hdl/rtl/blocks.py: pe_block")


@dataclass(frozen=True)
class FlipBits:
    """Where the bits of a PE's registers lie in its word of flip inputs, lowest first."""

    datapath: Datapath

    @property
    def words(self) -> dict[tuple[str, int], tuple[int, int]]:
        """First bit and width by register and copy, in the order of a PE's flip inputs."""
        d, at = self.datapath, 0
        arithmetic = Arithmetic(act_bits=d.act_bits, weight_bits=d.weight_bits, acc_bits=d.acc_bits)
        found = {}
        for name in _FLIPPED:
            register = BY_UNIT["array"][name]
            bits = register.bits(arithmetic)
            for copy in range(COPIES if register.protected else 1):
                found[name, copy] = at, bits
                at += bits
        return found

    def at(self, register: str, copy: int) -> int:
        """First bit of a copy of a register."""
        return self.words[register, copy][0]

    @property
    def width(self) -> int:
        """Stored bits of a PE, all copies."""
        return sum(bits for _, bits in self.words.values())


def word(bits: int) -> Any:
    """A signal of unsigned bits."""
    return Signal(intbv(0)[bits:])


@block
def pe_block(
    clk, act_in, wgt_in, valid_in, load, bias, out, bus_in, protect_prod, protect_acc,
    flip_act, flip_wgt, flip_p0, flip_p1, flip_p2, flip_s0, flip_s1, flip_s2,
    act_out, wgt_out, valid_out, bus_out, datapath, faults,
):  # fmt: skip
    """A PE; see `pe.pe` for the ports. flip_* : stored bits that are wrong from this cycle on.

    faults : whether there are flip inputs.
    """
    a, w, p, s = (
        datapath.act_bits,
        datapath.weight_bits,
        datapath.product_bits,
        datapath.acc_bits,
    )
    act, wgt = word(a), word(w)
    valid, valid_prod = Signal(bool(0)), Signal(bool(0))
    prod0, prod1, prod2 = word(p), word(p), word(p)
    acc0, acc1, acc2 = word(s), word(s), word(s)
    act_now, wgt_now, prod_now, acc_now = word(a), word(w), word(p), word(s)
    x0, x1, x2 = word(p), word(p), word(p)
    y0, y1, y2 = word(s), word(s), word(s)
    product = Signal(intbv(0, min=-(1 << (p - 1)), max=1 << (p - 1)))
    # Sign extension by hand: mixed widths are warnings of linters.
    addend = ConcatSignal(*[prod_now(p - 1)] * (s - p), prod_now) if s > p else prod_now
    total = Signal(modbv(0)[s:])
    sum_bits = word(s)

    if faults:

        @always_comb
        def flipped():
            act_now.next = act ^ flip_act
            wgt_now.next = wgt ^ flip_wgt
            x0.next = prod0 ^ flip_p0
            x1.next = prod1 ^ flip_p1
            x2.next = prod2 ^ flip_p2
            y0.next = acc0 ^ flip_s0
            y1.next = acc1 ^ flip_s1
            y2.next = acc2 ^ flip_s2

    else:

        @always_comb
        def flipped():
            act_now.next = act
            wgt_now.next = wgt
            x0.next = prod0
            x1.next = prod1
            x2.next = prod2
            y0.next = acc0
            y1.next = acc1
            y2.next = acc2

    @always_comb
    def voted():
        prod_now.next = (x0 & ~protect_prod) | (((x0 & x1) | (x0 & x2) | (x1 & x2)) & protect_prod)
        acc_now.next = (y0 & ~protect_acc) | (((y0 & y1) | (y0 & y2) | (y1 & y2)) & protect_acc)

    @always_comb
    def multiplied():
        product.next = act_now.signed() * wgt_now.signed()

    @always_comb
    def added():
        if valid_prod:
            total.next = acc_now + addend
        else:
            total.next = acc_now

    @always_comb
    def chosen():
        if load:
            sum_bits.next = bias
        else:
            sum_bits.next = total

    @always_comb
    def driven():
        act_out.next = act_now
        wgt_out.next = wgt_now
        valid_out.next = valid
        if out:
            bus_out.next = acc_now
        else:
            bus_out.next = bus_in

    @always(clk.posedge)
    def stored():
        act.next = act_in
        wgt.next = wgt_in
        valid.next = valid_in
        valid_prod.next = valid
        prod0.next = product[p:]
        prod1.next = product[p:]
        prod2.next = product[p:]
        acc0.next = sum_bits
        acc1.next = sum_bits
        acc2.next = sum_bits

    return flipped, voted, multiplied, added, chosen, driven, stored


@block
def array_block(
    clk, act_in, wgt_in, valid_in, load, bias, out, protect_prod, protect_acc, flips, bus, rows,
    cols, datapath,
):  # fmt: skip
    """rows x cols PEs. Words of rows or columns are concatenated, row or column 0 lowest.

    act_in, valid_in, load, out : by row. wgt_in, bias, bus : by column. flips : by PE, row-major;
    None for an array without flip inputs.
    """
    a, w, s = datapath.act_bits, datapath.weight_bits, datapath.acc_bits
    layout = FlipBits(datapath)
    places = [(at, at + bits) for at, bits in layout.words.values()]

    def own(r: int, c: int) -> list[Any]:
        first = (r * cols + c) * layout.width
        if flips is None:
            return [None] * len(places)
        return [flips(first + end, first + begin) for begin, end in places]

    act = [[act_in(r * a + a, r * a)] + [word(a) for _ in range(cols)] for r in range(rows)]
    valid = [[valid_in(r)] + [Signal(bool(0)) for _ in range(cols)] for r in range(rows)]
    wgt = [[wgt_in(c * w + w, c * w) for c in range(cols)]]
    wgt += [[word(w) for _ in range(cols)] for _ in range(rows)]
    lines = [[word(s) for _ in range(cols)] for _ in range(rows + 1)]
    pes = [
        pe_block(
            clk, act[r][c], wgt[r][c], valid[r][c], load(r), bias(c * s + s, c * s), out(r),
            lines[r][c], protect_prod, protect_acc,
            *own(r, c), act[r][c + 1], wgt[r + 1][c], valid[r][c + 1], lines[r + 1][c],
            datapath, flips is not None,
        )
        for r in range(rows)
        for c in range(cols)
    ]  # fmt: skip
    joined = ConcatSignal(*reversed(lines[rows])) if cols > 1 else lines[rows][0]

    @always_comb
    def shown():
        bus.next = joined

    return pes, shown


def ports(rows: int, cols: int, datapath: Datapath, faults: bool = True) -> dict[str, Any]:
    """New signals for the ports of `array_block`, by name."""
    width = FlipBits(datapath).width
    return {
        "clk": Signal(bool(0)),
        "act_in": word(rows * datapath.act_bits),
        "wgt_in": word(cols * datapath.weight_bits),
        "valid_in": word(rows),
        "load": word(rows),
        "bias": word(cols * datapath.acc_bits),
        "out": word(rows),
        "protect_prod": word(datapath.product_bits),
        "protect_acc": word(datapath.acc_bits),
        "flips": word(rows * cols * width) if faults else None,
        "bus": word(cols * datapath.acc_bits),
    }

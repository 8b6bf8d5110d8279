"""The processing element and the DPPU's dot product as netlists, without redundancy.

A PE of the output-stationary array: `act` moves right, `wgt` moves down, the product is stored, and
added to the accumulator when its valid bit has come with it (DESIGN: FlexHyCA; docs/hardware.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from .adders import ripple
from .multipliers import Multiplier, multiply
from .netlist import Netlist


@dataclass(frozen=True)
class Datapath:
    """Word lengths and the kind of multiplier."""

    act_bits: int = 8
    weight_bits: int = 8
    acc_bits: int = 24
    multiplier: Multiplier = "wallace"

    @property
    def product_bits(self) -> int:
        """Bits of an exact product."""
        return self.act_bits + self.weight_bits


def multiplier(datapath: Datapath) -> Netlist:
    """The multiplier alone: ports a, w -> p."""
    netlist = Netlist("multiplier")
    a, w = netlist.port("a", datapath.act_bits), netlist.port("w", datapath.weight_bits)
    netlist.outputs["p"] = multiply(netlist, a, w, datapath.multiplier)
    netlist.sort()
    return netlist


def core(datapath: Datapath) -> Netlist:
    """What a PE computes, without time: ports a, w, acc -> y, the next accumulator (acc + a w).

    Buffers stand where the PE has the registers `prod` and `acc`, so that voters come where they
    are in the PE.
    """
    netlist = Netlist("core")
    a, w = netlist.port("a", datapath.act_bits), netlist.port("w", datapath.weight_bits)
    acc = netlist.port("acc", datapath.acc_bits)
    prod = netlist.wires("prod", multiply(netlist, a, w, datapath.multiplier))
    netlist.outputs["y"] = netlist.wires("acc", _accumulate(netlist, acc, prod))
    netlist.sort()
    return netlist


def pe(datapath: Datapath) -> Netlist:
    """A PE.

    Inputs: act, wgt, valid (from the left), load (accumulators take `bias`), bias, bus (from the
    PE above), out (this row puts its accumulators on the bus). Outputs: act_out, wgt_out,
    valid_out, bus_out.
    """
    netlist = Netlist("pe")
    inputs = {
        "act": datapath.act_bits,
        "wgt": datapath.weight_bits,
        "valid": 1,
        "load": 1,
        "bias": datapath.acc_bits,
        "bus": datapath.acc_bits,
        "out": 1,
    }
    act_in, wgt_in, valid_in, load, bias, bus, out = (
        netlist.port(name, bits) for name, bits in inputs.items()
    )
    act, wgt = netlist.register("act", act_in), netlist.register("wgt", wgt_in)
    valid = netlist.register("valid", valid_in)
    valid_prod = netlist.register("valid_prod", valid)
    prod = netlist.register("prod", multiply(netlist, act, wgt, datapath.multiplier))
    gated = [
        netlist.gate("AND2", i, (net, valid_prod[0]), "accumulator") for i, net in enumerate(prod)
    ]
    acc = netlist.word(datapath.acc_bits)
    for i, total in enumerate(_accumulate(netlist, acc, gated)):
        data = netlist.gate("MUX2", i, (total, bias[i], load[0]), "accumulator")
        netlist.add("DFF", i, (data,), "registers", name="acc", outputs=(acc[i],))
    netlist.outputs = {
        "act_out": act,
        "wgt_out": wgt,
        "valid_out": valid,
        "bus_out": [
            netlist.gate("MUX2", i, (bus[i], acc[i], out[0]), "control")
            for i in range(datapath.acc_bits)
        ],
    }
    netlist.sort()
    return netlist


def _accumulate(netlist: Netlist, acc: list[int], product: list[int]) -> list[int]:
    """acc + product, modulo 2**acc_bits; the sign of the product is extended."""
    extended = product + [product[-1]] * (len(acc) - len(product))
    columns = [list(pair) for pair in zip(acc, extended, strict=True)]
    return ripple(netlist, columns, "accumulator")

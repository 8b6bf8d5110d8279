"""One group of the DPPU, VEC's truncation, and the voters of TMR-ARCH, as netlists."""

from __future__ import annotations

from collections.abc import Sequence

from .adders import ripple
from .multipliers import multiply
from .netlist import ZERO, Netlist
from .pe import Datapath


def dppu_group(datapath: Datapath, width: int, neurons: int) -> Netlist:
    """`width` multipliers, a pipelined adder tree, and the partial sums of `neurons` neurons.

    Inputs: act, wgt (`width` words each, lane 0 lowest), neuron (one line each: its sum is
    updated), load (the sum begins at `bias`), bias. Output: psum of the chosen neuron. The stages
    of the tree are stored, each a bit wider than the one before.
    """
    netlist = Netlist("dppu_group")
    d = datapath
    act_in, wgt_in = (
        netlist.port("act", width * d.act_bits),
        netlist.port("wgt", width * d.weight_bits),
    )
    chosen, load = netlist.port("neuron", neurons), netlist.port("load", 1)
    bias = netlist.port("bias", d.acc_bits)
    terms = []
    for lane in range(width):
        act = netlist.register("act", act_in[lane * d.act_bits :][: d.act_bits])
        wgt = netlist.register("wgt", wgt_in[lane * d.weight_bits :][: d.weight_bits])
        terms.append(netlist.register("product", multiply(netlist, act, wgt, d.multiplier)))
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [
            netlist.register("tree", _sum(netlist, *pair))
            if len(pair) == 2
            else _delayed(netlist, pair[0])
            for pair in pairs
        ]
    sums = [netlist.word(d.acc_bits) for _ in range(neurons)]
    held = [
        netlist.one_of(i, [s[i] for s in sums], chosen, "accumulator") for i in range(d.acc_bits)
    ]
    tree = _extended(terms[0], d.acc_bits)
    total = ripple(netlist, [list(pair) for pair in zip(held, tree, strict=True)], "accumulator")
    for i, net in enumerate(total):
        after = netlist.gate("MUX2", i, (net, bias[i], load[0]), "accumulator")
        for own, line in zip(sums, chosen, strict=True):
            data = netlist.gate("MUX2", i, (own[i], after, line), "accumulator")
            netlist.add("DFF", i, (data,), "registers", name="psum", outputs=(own[i],))
    netlist.outputs["psum"] = held
    netlist.sort()
    return netlist


def truncation(acc_bits: int, act_bits: int) -> Netlist:
    """VEC's shifter: acc, shift -> y, the bits [shift+act_bits-1 : shift]."""
    netlist = Netlist("truncation")
    acc = netlist.port("acc", acc_bits)
    shift = netlist.port("shift", (acc_bits - act_bits).bit_length())
    word: list[int] = list(acc)
    for stage, line in enumerate(shift):
        step = 1 << stage
        moved = [*word[step:], *[ZERO] * step]
        word = [
            net if net == other else netlist.gate("MUX2", i, (net, other, line), "truncation")
            for i, (net, other) in enumerate(zip(word, moved, strict=True))
        ]
    netlist.outputs["y"] = word[:act_bits]
    netlist.sort()
    return netlist


def word_voter(bits: int) -> Netlist:
    """The majority of three words: a, b, c -> y (TMR-ARCH votes accumulators on their way out)."""
    netlist = Netlist("word_voter")
    words = [netlist.port(name, bits) for name in "abc"]
    netlist.outputs["y"] = [
        netlist.voter(i, nets) for i, nets in enumerate(zip(*words, strict=True))
    ]
    netlist.sort()
    return netlist


def _extended(word: Sequence[int], bits: int) -> list[int]:
    return [*word, *[word[-1]] * (bits - len(word))]


def _sum(netlist: Netlist, a: Sequence[int], b: Sequence[int]) -> list[int]:
    bits = max(len(a), len(b)) + 1
    columns = zip(_extended(a, bits), _extended(b, bits), strict=True)
    return ripple(netlist, [list(pair) for pair in columns], "accumulator")


def _delayed(netlist: Netlist, word: Sequence[int]) -> list[int]:
    """A term without a partner waits a stage, as wide as the others are then."""
    return netlist.register("tree", _extended(word, len(word) + 1))

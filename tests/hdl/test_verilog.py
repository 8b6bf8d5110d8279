"""The emitted PE in Icarus and Verilator against the netlist in NumPy: every output, every step."""

import shutil

import numpy as np
import pytest

from flexhyca.hdl.netlist.design import PeProtection, protected
from flexhyca.hdl.netlist.evaluate import Simulation, constant
from flexhyca.hdl.netlist.multipliers import MULTIPLIERS
from flexhyca.hdl.netlist.pe import Datapath, pe
from flexhyca.hdl.rtl.players import Icarus, Verilator
from flexhyca.hdl.rtl.verilog import design

TOOLS = {
    tool: pytest.param(
        kind,
        marks=pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed"),
    )
    for tool, kind in (("iverilog", Icarus), ("verilator", Verilator))
}


def check(tool, kind, protection, shift, vectors):
    circuit = protected(pe(Datapath(multiplier=kind)), Datapath(), protection)
    netlist = circuit.netlist
    widths = {name: len(nets) for name, nets in netlist.inputs.items() if nets}
    shown = {name: len(nets) for name, nets in netlist.outputs.items()}
    rng = np.random.default_rng(0)
    first = {"load": 1, "bias": 5}  # what no flip-flop knows has gone through after three steps
    played = [first, first, first]
    played += [
        {
            "act": int(rng.integers(256)),
            "wgt": int(rng.integers(256)),
            "valid": int(rng.random() < 0.9),
            "load": int(rng.random() < 0.01),
            "bias": int(rng.integers(1 << 24)),
            "bus": int(rng.integers(1 << 24)),
            "out": int(rng.random() < 0.9),
        }
        for _ in range(vectors)
    ]
    if circuit.lines:
        select = sum(bit << i for i, bit in enumerate(circuit.controls(shift)))
        played = [{**step, "select": select} for step in played]
    got = tool(design(netlist, "pe"), "pe", widths, shown).run(played)
    simulation = Simulation(netlist, 1)
    for number, (step, row) in enumerate(zip(played, got, strict=True)):
        simulation.settle(
            {
                name: [constant(step.get(name, 0) >> i & 1, 1) for i in range(bits)]
                for name, bits in widths.items()
            }
        )
        if number > 3:
            want = {
                name: sum(
                    int(bit[0] & np.uint64(1)) << i for i, bit in enumerate(simulation.output(name))
                )
                for name in shown
            }
            assert row == want, number
        simulation.clock()


@pytest.mark.parametrize("tool", [TOOLS["iverilog"]])
@pytest.mark.parametrize(
    ("kind", "protection", "shift"),
    [
        ("wallace", PeProtection(), 0),
        ("array", PeProtection(1, 2, "configurable"), 5),
        ("wallace", PeProtection(2, 7, "direct"), 9),
    ],
    ids=str,
)
def test_the_emitted_pe(tool, kind, protection, shift):
    check(tool, kind, protection, shift, 400)


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS.values())
@pytest.mark.parametrize("kind", MULTIPLIERS)
def test_the_emitted_pe_100000_times(tool, kind):
    check(tool, kind, PeProtection(1, 7, "configurable"), 8, 100_000)

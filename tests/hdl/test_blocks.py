"""The array in MyHDL, Icarus and Verilator against the simulator's stepper, under fault plans."""

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from myhdl import Signal, StopSimulation, block, delay, instance

from flexhyca.config import Arithmetic
from flexhyca.hdl.netlist.design import PeProtection, protected
from flexhyca.hdl.netlist.pe import Datapath, core
from flexhyca.hdl.rtl.blocks import FlipBits, array_block, ports
from flexhyca.hdl.rtl.netlist_block import netlist_block, signals
from flexhyca.hdl.rtl.players import Icarus, Verilator, array_verilog
from flexhyca.hdl.rtl.stimulus import port_values, split
from flexhyca.isa.registers import BY_UNIT
from flexhyca.simulator.array.os_array import Flip, os_tile
from flexhyca.simulator.array.timing import os_tile_cycles

D = Datapath()
PE = BY_UNIT["array"]
BITS = {name: register.bits(Arithmetic()) for name, register in PE.items()}


@st.composite
def tiles(draw, rows, cols, depth=8, faults=6):
    """A tile, protected columns, and flips of any copy: (steps, expected sums)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, n, k = draw(st.integers(1, rows)), draw(st.integers(1, cols)), draw(st.integers(1, depth))
    act, wgt = (rng.integers(-128, 128, (x, k)).astype(np.int8) for x in (m, n))
    start = rng.integers(-(1 << 23), 1 << 23, (m, n)).astype(np.int32)
    cycles = os_tile_cycles(k, m, n)
    first = draw(st.sampled_from([24, 14, 9]))
    columns = range(first, 24)
    flips = []
    for _ in range(draw(st.integers(0, faults))):
        name = str(rng.choice(list(BITS)))
        bit = int(rng.integers(BITS[name]))
        copies = 3 if PE[name].protected and bit in columns else 1
        row, col = int(rng.integers(m)), int(rng.integers(n))
        step = min(cycles - 1, row + col + 1 + int(rng.integers(k + 3)))
        flips.append((step, name, row, col, bit, int(rng.integers(copies))))
    want, _ = os_tile(
        act,
        wgt,
        start,
        rows=rows,
        cols=cols,
        arithmetic=Arithmetic(),
        flips=[Flip(*flip) for flip in flips],
        protected=columns,
    )
    mask = sum(1 << column for column in columns)
    played = port_values(
        act, wgt, start, flips, rows, cols, D, cycles, (mask & ((1 << 16) - 1), mask)
    )
    idle = [{}] * (cols + 2)  # registers are unknown until something has come through
    return [*idle, *played], want


def check(run, cols, case):
    played, want = case
    shown = [split(row["bus"], cols, D.acc_bits) for row in run(played)][-len(want) :]
    np.testing.assert_array_equal(np.array(shown)[:, : want.shape[1]], want)


def in_myhdl(rows, cols, played):
    pins = ports(rows, cols, D)
    shown = []

    @block
    def bench():
        dut = array_block(*pins.values(), rows, cols, D)

        @instance
        def drive():
            for step in played:
                for name, pin in pins.items():
                    if name not in ("clk", "bus"):
                        pin.next = step.get(name, 0)
                yield delay(1)
                shown.append({"bus": int(pins["bus"])})
                for level in (1, 0):
                    pins["clk"].next = level
                    yield delay(1)
            raise StopSimulation

        return dut, drive

    top = bench()
    top.run_sim(quiet=1)
    top.quit_sim()
    return shown


def rtl(tool, rows, cols):
    inputs = {n: len(s) for n, s in ports(rows, cols, D).items() if n not in ("clk", "bus")}
    return tool(array_verilog(rows, cols, D), "array", inputs, {"bus": cols * D.acc_bits})


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(tiles(4, 4))
def test_myhdl_equals_the_stepper(case):
    check(lambda played: in_myhdl(4, 4, played), 4, case)


@pytest.mark.slow
def test_one_pe_in_myhdl_100000_times():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        act, wgt = (rng.integers(-128, 128, (1, 2000)).astype(np.int8) for _ in range(2))
        start = rng.integers(-(1 << 23), 1 << 23, (1, 1)).astype(np.int32)
        want, _ = os_tile(act, wgt, start, rows=1, cols=1, arithmetic=Arithmetic())
        played = port_values(act, wgt, start, [], 1, 1, D, os_tile_cycles(2000, 1, 1))
        check(lambda played: in_myhdl(1, 1, played), 1, ([{}, {}, {}, *played], want))


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")
@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (5, 3)])
def test_icarus_equals_the_stepper(rows, cols):
    run = rtl(Icarus, rows, cols).run

    @settings(max_examples=40, deadline=None)
    @given(tiles(rows, cols))
    def equal(case):
        check(run, cols, case)

    equal()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")
def test_icarus_equals_the_stepper_on_8x8_often():
    run = rtl(Icarus, 8, 8).run

    @settings(max_examples=300, deadline=None)
    @given(tiles(8, 8, depth=20, faults=12))
    def equal(case):
        check(run, 8, case)

    equal()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")
def test_verilator_equals_the_stepper_on_16x16():
    run = rtl(Verilator, 16, 16).run

    @settings(max_examples=500, deadline=None)
    @given(tiles(16, 16, depth=40, faults=20))
    def equal(case):
        check(run, 16, case)

    equal()


def test_flip_bits_do_not_overlap():
    layout = FlipBits(Datapath(3, 5, 17))
    ends = [at + bits for at, bits in layout.words.values()]
    assert [at for at, _ in layout.words.values()] == [0, *ends[:-1]]
    assert layout.width == ends[-1] == 3 + 5 + 3 * 8 + 3 * 17


def test_a_netlist_in_myhdl():
    circuit = protected(core(D), D, PeProtection(1, 2, "configurable")).at(4)
    nets, rng = signals(circuit), np.random.default_rng(0)
    wrong = []

    @block
    def bench():
        dut = netlist_block(circuit, Signal(bool(0)), nets)

        @instance
        def drive():
            for _ in range(20):
                a, w = (int(x) for x in rng.integers(-128, 128, 2))
                acc = int(rng.integers(-(1 << 23), 1 << 23))
                for name, value in (("a", a), ("w", w), ("acc", acc)):
                    for i, net in enumerate(circuit.inputs[name]):
                        nets[net].next = bool(value >> i & 1)
                yield delay(1)
                y = sum(int(nets[net]) << i for i, net in enumerate(circuit.outputs["y"]))
                wrong.append(y != (acc + a * w) % (1 << 24))
            raise StopSimulation

        return dut, drive

    top = bench()
    top.run_sim(quiet=1)
    top.quit_sim()
    assert wrong == [False] * 20

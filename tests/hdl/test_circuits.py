"""Netlists compute what the simulator does: products, sums, truncation, under every policy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic
from flexhyca.hdl import check
from flexhyca.hdl.netlist.design import PeProtection, protected, shifts
from flexhyca.hdl.netlist.dppu import dppu_group
from flexhyca.hdl.netlist.evaluate import (
    Simulation,
    constant,
    pack,
    unpack,
)
from flexhyca.hdl.netlist.gate_faults import gate_faults
from flexhyca.hdl.netlist.multipliers import MULTIPLIERS
from flexhyca.hdl.netlist.pe import (
    Datapath,
    core,
    multiplier,
    pe,
)
from flexhyca.hdl.netlist.registers import GROUP, PE
from flexhyca.isa.columns import configurable_product, configurable_sum
from flexhyca.simulator.array.os_array import os_tile

POLICIES = ("direct", "configurable")


@pytest.mark.parametrize("kind", MULTIPLIERS)
@pytest.mark.parametrize("protection", check.SPREAD, ids=str)
def test_every_product_of_every_policy(kind, protection):
    assert check.products(Datapath(multiplier=kind), protection).passed


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 8),
    st.integers(2, 8),
    st.integers(16, 32),
    st.sampled_from(MULTIPLIERS),
    st.sampled_from(POLICIES),
    st.data(),
)
def test_sums_of_any_word_lengths(a, w, acc, kind, policy, data):
    datapath = Datapath(a, w, acc, kind)
    q_scale = data.draw(st.integers(0, acc - a))
    protection = PeProtection(data.draw(st.integers(1, min(a, 8))), q_scale, policy)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    assert check.sums(datapath, protection, rng, 640).passed


def test_flip_flops_are_those_of_the_register_table():
    def stored(netlist):
        return {cell.name for cell in netlist.cells if cell.part == "registers"}

    gates = {"valid", "valid_prod"}  # of sums: no flip is drawn there
    assert stored(pe(Datapath())) == set(PE.values()) | gates
    assert stored(dppu_group(Datapath(), 4, 2)) == set(GROUP.values())


def test_truncation_is_that_of_vec():
    assert check.truncations(Datapath(), np.random.default_rng(0), 100_000).passed


@pytest.mark.parametrize("kind", MULTIPLIERS)
@pytest.mark.parametrize("policy", ["none", *POLICIES, "full"])
def test_the_stored_pe_equals_the_simulators(kind, policy):
    """100,000 multiply-accumulates: 1024 PEs of a stepped array, and as many of the netlist."""
    rng = np.random.default_rng(0)
    rows = cols = 32
    k = 98
    act = rng.integers(-128, 128, (rows, k)).astype(np.int8)
    wgt = rng.integers(-128, 128, (cols, k)).astype(np.int8)
    bias = rng.integers(-(1 << 23), 1 << 23, cols).astype(np.int32)
    want, _ = os_tile(act, wgt, bias, rows=rows, cols=cols, arithmetic=Arithmetic())
    datapath = Datapath(multiplier=kind)
    circuit = protected(pe(datapath), datapath, PeProtection(2, 5, policy)).at(9)
    words = rows * cols // 64
    simulation = Simulation(circuit, words)

    def step(a, w, valid, load):
        simulation.settle(
            {
                "act": pack(a, 8),
                "wgt": pack(w, 8),
                "valid": [constant(valid, words)],
                "load": [constant(load, words)],
                "bias": pack(np.tile(bias.astype(np.int64), rows), 24),
                "bus": [constant(0, words)] * 24,
                "out": [constant(1, words)],
            }
        )
        shown = unpack(simulation.output("bus_out"), rows * cols)
        simulation.clock()
        return shown

    nothing = np.zeros(rows * cols, np.int64)
    step(nothing, nothing, 0, 1)
    for i in range(k):
        step(np.repeat(act[:, i], cols).astype(np.int64), np.tile(wgt[:, i], rows), 1, 0)
    step(nothing, nothing, 0, 0)
    step(nothing, nothing, 0, 0)
    got = step(nothing, nothing, 0, 0)
    np.testing.assert_array_equal(got.reshape(rows, cols), want)


@pytest.mark.parametrize("kind", MULTIPLIERS)
@pytest.mark.parametrize("protect", [1, 2, 3, 5])
@pytest.mark.parametrize("q_scale", [0, 4, 7, 13])
def test_what_has_copies_is_what_the_fault_model_says(kind, protect, q_scale):
    datapath = Datapath(multiplier=kind)
    protection = PeProtection(protect, q_scale, "configurable")
    circuit = protected(core(datapath), datapath, protection)
    legal = shifts(datapath, protection)
    for shift in {legal[0], legal[1], legal[-1]}:
        operands = check.operands(datapath, np.random.default_rng(1), 256)
        masked = {"prod": set(), "acc": set()}
        for fault in gate_faults(circuit.at(shift), operands, "y"):
            if fault.cell.part == "registers" and fault.cell.copy == 0:
                masked[fault.cell.name].add((fault.cell.column, not fault.wrong))
        for name, columns in (
            ("prod", configurable_product(8, 8, protect, q_scale, shift)),
            ("acc", configurable_sum(8, 24, protect, q_scale, shift)),
        ):
            always = {c for c, good in masked[name] if good} - {
                c for c, good in masked[name] if not good
            }
            assert always == set(columns), (name, shift)


@pytest.mark.parametrize("kind", MULTIPLIERS)
def test_stuck_cells_of_copies_are_masked(kind):
    rng = np.random.default_rng(0)
    for protection in check.SPREAD:
        if protection.protect:
            result = check.stuck(Datapath(multiplier=kind), protection, rng)
            assert result.passed, result.found


def test_a_stuck_unprotected_cell_is_seen():
    netlist = multiplier(Datapath())
    rng = np.random.default_rng(0)
    operands = {name: rng.integers(-128, 128, 256) for name in "aw"}
    faults = gate_faults(netlist, operands, "p")
    assert sum(bool(fault.wrong) for fault in faults) > 0.9 * len(faults)

"""The register table: one code and one place for everything that is stored."""

from flexhyca.config import Arithmetic, load_config
from flexhyca.isa.registers import BY_UNIT, REGISTERS, SKEW_OF_DATAFLOW, UNIT_OF_DATAFLOW
from flexhyca.tests.support import small_config

A = Arithmetic()


def places(unit, name, config):
    """Flip-flops of a register without their copies."""
    r = BY_UNIT[unit][name]
    there = sum(r.exists(i, j) for i in range(r.rows(config)) for j in range(r.cols(config)))
    return there * r.bits(A)


def test_codes_and_names_are_unique_in_a_unit():
    for unit, registers in BY_UNIT.items():
        assert len(registers) == sum(r.unit == unit for r in REGISTERS)
        assert len({r.code for r in registers.values()}) == len(registers)


def test_every_dataflow_has_an_array_and_delay_lines():
    assert set(UNIT_OF_DATAFLOW) == set(SKEW_OF_DATAFLOW)
    assert {*UNIT_OF_DATAFLOW.values(), *SKEW_OF_DATAFLOW.values()} <= set(BY_UNIT)


def test_delay_lines_are_triangles():
    config = small_config("array.rows=4", "array.cols=6")
    assert places("skew", "act", config) == 8 * (1 + 2 + 3)
    assert places("skew", "wgt", config) == 8 * (1 + 2 + 3 + 4 + 5)
    assert places("skew_ws", "act", config) == places("skew_is", "wgt", config) == 8 * 6
    assert places("skew", "act", small_config("array.rows=1")) == 0


def test_the_shipped_dppu():
    config = load_config("flexhyca-32x32")  # 13 groups of 4, windows of 32
    assert places("dppu", "file_act", config) == 8 * 32 * 2 * 32
    assert places("dppu", "prod", config) == 16 * 52
    assert places("dppu", "tree1", config) == 17 * 26
    assert places("dppu", "tree2", config) == 18 * 13
    assert places("dppu", "tree3", config) == 0
    assert places("dppu", "psum", config) == 24 * 52
    assert places("dppu", "position", config) == 10 * 52
    assert places("dppu_excess", "psum", config) == 24 * 1024


def test_an_odd_tree():
    config = small_config("dppu.size=5", "dppu.width=5")
    assert [places("dppu", f"tree{s}", config) for s in (1, 2, 3, 4)] == [17 * 3, 18 * 2, 19, 0]


def test_what_is_not_there_has_no_places():
    alone = small_config("dppu.size=0", "protection.s_th=0")
    taps, fetched = (small_config(f"dppu.data_reuse={x}") for x in ("array", "dram"))
    for name in BY_UNIT["dppu"]:
        assert places("dppu", name, alone) == places("dppu_excess", name, alone) == 0
        assert places("dppu_excess", name, taps) == places("dppu", name, fetched) == 0
    assert places("dppu", "psum", taps) == 24 * 16

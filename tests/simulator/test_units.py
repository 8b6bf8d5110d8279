"""Every register of the table passes the suite of `units`."""

import pytest

from flexhyca.isa.registers import BY_UNIT
from flexhyca.simulator.array.tile import runs
from flexhyca.tests.simulator.units import (
    NAMES,
    REGISTERS,
    TILES,
    check_corrections,
    check_count,
    check_hold,
)


def test_every_unit_has_tiles():

    assert {*TILES, "buffer"} == set(BY_UNIT)


@pytest.mark.parametrize(("unit", "register"), REGISTERS, ids=NAMES)
def test_the_corrections_equal_the_stepper(unit, register):
    check_corrections(unit, register, 30)


@pytest.mark.parametrize(("unit", "register"), REGISTERS, ids=NAMES)
def test_what_is_held_is_the_state_of_the_stepper(unit, register):
    check_hold(unit, register, 60)


@pytest.mark.parametrize(("unit", "register"), REGISTERS, ids=NAMES)
def test_what_is_used_is_what_is_held(unit, register):
    check_count(unit, register, 15)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "register"), REGISTERS, ids=NAMES)
def test_the_suite_often(unit, register):
    check_corrections(unit, register, 500)
    check_hold(unit, register, 500)
    check_count(unit, register, 100)


def test_runs():
    assert runs([]) == []
    assert runs([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]

"""A register that is added to the table alone: the import says where it has to be handled."""

import pytest

from flexhyca.isa.registers import BY_UNIT, SKEW_OF_DATAFLOW, UNIT_OF_DATAFLOW
from flexhyca.simulator.array.roles import ROLES
from flexhyca.tests import tables

_HEAD = "REGISTERS: tuple[Register, ...] = (\n"


def row(unit, more=""):
    """An edit that adds a register `spare` to a unit."""
    text = f'    Register("{unit}", "spare", 31, lambda a: 1, "nothing"{more}),\n'
    return "isa/registers.py", _HEAD, _HEAD + text


STATIONARY = {
    "hdl/area/machine.py: _COUNTED",
    "simulator/array/stationary_array.py: _USES, _DELAYED",
    "simulator/array/stationary_corrections.py: stationary_corrections",
    "simulator/array/stationary_stepper.py: step_stationary",
}
_ROLES = "simulator/array/roles.py: ROLES"
DPPU = {
    "faults/story/contents.py: _DPPU_PLACES",
    "hdl/area/machine.py: _COUNTED",
    "simulator/dppu/corrections.py: dppu_sums",
    "simulator/dppu/held.py: USES",
    "simulator/dppu/schedule.py: _PLACES",
    "simulator/dppu/stepper.py: step_dppu_tile",
}
#: All who have to handle a register of a unit.
HANDLERS = {
    "array": {
        "hdl/area/machine.py: _COUNTED",
        "hdl/netlist/registers.py: PE",
        "hdl/rtl/blocks.py: pe_block",
        "simulator/array/os_array.py: _USES",
        "simulator/array/os_corrections.py: os_corrections",
        "simulator/array/os_stepper.py: step_os_tile, step_os_tile_copies",
    },
    "skew": {
        "hdl/area/machine.py: _COUNTED",
        "simulator/array/os_array.py: _DELAYED",
        "simulator/array/os_corrections.py: os_corrections",
        "simulator/array/os_stepper.py: step_os_tile, step_os_tile_copies",
    },
    **dict.fromkeys((UNIT_OF_DATAFLOW[flow] for flow in ROLES), STATIONARY | {_ROLES}),
    **dict.fromkeys((SKEW_OF_DATAFLOW[flow] for flow in ROLES), STATIONARY),
    "dppu": DPPU | {"hdl/netlist/registers.py: GROUP, BESIDE"},
    "dppu_excess": DPPU,
    "buffer": {
        "faults/machine/population.py: _BUFFERS",
        "faults/story/buffer_contents.py: _WORDS",
        "hdl/area/machine.py: _COUNTED",
        "simulator/inject/fault_plan.py: _SLOTS",
    },
}


def importer(unit):
    """A module whose import has to fail: a simulation, or a campaign of faults."""
    simulated = {*UNIT_OF_DATAFLOW.values(), *SKEW_OF_DATAFLOW.values()}
    return "flexhyca.simulator.run" if unit in simulated else "flexhyca.faults.machine.experiment"


@pytest.mark.parametrize("unit", BY_UNIT)
def test_the_import_fails_and_says_where(tmp_path, unit):
    said = tables.refusal(tmp_path, importer(unit), row(unit))
    where, _, rest = said.removeprefix("flexhyca.errors.InternalError: ").partition(" does not ")
    assert where in HANDLERS[unit]
    assert rest == f"handle spare of unit {unit} in isa/registers.py; add it there"


def test_everyone_who_has_to_handle_a_register_says_so(tmp_path):
    """One row more in each unit: the places that refuse it are the pages of "how to add"."""
    name, head, _ = row("array")
    rows = "".join(row(unit)[2].removeprefix(_HEAD) for unit in BY_UNIT)
    asked = tables.checks(tmp_path, (name, head, head + rows))
    found = {unit: set() for unit in BY_UNIT}
    for table, where, said in asked:
        unit = table.removeprefix("unit ").removesuffix(" in isa/registers.py")
        assert table or not said, (where, said)  # no import fails for another reason
        if said:
            assert said == f"{where} does not handle spare of {table}; add it there"
            found[unit].add(where)
    assert found == HANDLERS


def test_a_byte_of_a_buffer_is_told_and_timed(tmp_path):
    """What such a row is in a plan and in a population follows from the buffer that it names."""
    said = tables.checks(tmp_path, row("buffer", ", buffer=Buffer.IFMAP"))
    assert {where for _, where, text in said if text} == {
        "faults/machine/machine_time.py: _COUNTERS",
        "faults/story/buffer_contents.py: _WORDS",
        "hdl/area/machine.py: _COUNTED",
    }


def test_a_unit_has_someone_who_computes_it(tmp_path):
    said = tables.checks(tmp_path, row("vec"))
    assert {where for _, where, text in said if text} == {
        "faults/story/contents.py: _PLACES",
        "hdl/area/machine.py: _COUNTED",
        "isa/register_manual.py: UNITS",
        "simulator/inject/units.py: _UNITS",
    }


def test_copies_are_those_that_the_netlists_have(tmp_path):
    """A register that protection covers has copies in its netlist, too."""
    edit = "isa/registers.py", '"PE (r, c) only", protected=True),', '"PE (r, c) only"),'
    said = tables.refusal(tmp_path, "flexhyca.hdl.area.machine", edit)
    assert said == (
        "flexhyca.errors.InternalError: hdl/netlist/tmr.py: PROTECTED_REGISTERS handles acc, which "
        "protected registers in isa/registers.py does not have"
    )
    edit = "isa/protection.py", "COPIES = 3", "COPIES = 5"
    assert tables.refusing(tmp_path / "copies", edit) == [
        "config/schema.py: LAYER_COPIES does not handle 5 of 1 and COPIES in isa/protection.py; "
        "add it there",
        "hdl/netlist/tmr.py: COPIES does not handle 5 of isa/protection.py: COPIES; add it there",
    ]

"""A row more in a table: the import fails, and says where the row has to be handled."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexhyca.isa.instructions import BY_OPCODE
from flexhyca.tests.tables import (
    ROOT,
    Edit,
    checks,
    choice,
    copy_of_package,
    refusal,
    refusing,
    run,
)


def member(name: str, last: str) -> Edit:
    """One member more of an enum of the instruction table. last : its last line now."""
    return "isa/instructions.py", last, f"{last}    {name}\n"


FREE = max(BY_OPCODE) + 1  # an opcode
_HALT = '    Instruction("HALT", 8, None, (), "every engine stops"),\n'


def instruction(row: str) -> Edit:
    return "isa/instructions.py", _HALT, _HALT + f"    Instruction({row}),\n"


def scheme(row: str) -> Edit:
    last = '    Scheme("tmr_cl", "TMR-CL", "the configuration\'s own protection (FlexHyCA)"),\n'
    return "config/schemes.py", last, last + f"    Scheme({row}),\n"


def fault_model(row: str) -> Edit:
    first = "FAULT_MODELS: dict[str, FaultModel] = {\n"
    return "faults/models.py", first, first + f"    {row},\n"


def register(row: str) -> Edit:
    first = "REGISTERS: tuple[Register, ...] = (\n"
    return "isa/registers.py", first, first + f"    Register({row}),\n"


#: Table, the row that is added, and all places that have to handle it.
PLACES: list[tuple[str, list[Edit], set[str]]] = [
    (
        "dram.model",
        [choice("dram.model", "lpddr")],
        {
            "simulator/cycles/dram.py: DRAM_MODELS",
            "simulator/cycles/dram.py: request, the kernel",
        },
    ),
    (
        "timing",
        [choice("timing", "counted")],
        {"config/schema.py: RUNS_ENGINES"},
    ),
    (
        "rounding",
        [choice("arithmetic.rounding", "half_even")],
        {
            "compiler/quantise/search.py: shift_right, and fit",
            "network/fixedpoint.py: round_shift, requantise",
            "network/fixedpoint_kernels.py: finish_of",
            "network/fixedpoint_torch.py: requantise, add",
        },
    ),
    (
        "overflow",
        [choice("arithmetic.overflow", "stop")],
        {
            "compiler/quantise/search.py: shift_right, and fit",
            "hdl/netlist/design.py: FREES_COLUMNS",
            "isa/protection.py: _configurable",
            "network/fixedpoint.py: round_shift, requantise",
            "network/fixedpoint_kernels.py: finish_of",
            "network/fixedpoint_torch.py: requantise, add",
        },
    ),
    (
        "voter",
        [choice("protection.voter", "none")],
        {"config/schema.py: HEALS"},
    ),
    (
        "pe_policy",
        [choice("protection.pe_policy", "spare")],
        {
            "cli/area.py: AreaPolicy",
            "config/schema.py: PROTECTS",
            "hdl/netlist/design.py: Policy",
            "isa/protection.py: _COLUMNS",
        },
    ),
    (
        "policy of a circuit",
        [
            choice("protection.pe_policy", "spare"),
            (
                "hdl/netlist/design.py",
                '"configurable", "full"]',
                '"configurable", "spare", "full"]',
            ),
        ],
        {
            "cli/area.py: AreaPolicy",
            "config/schema.py: PROTECTS",
            "hdl/check.py: SPREAD",
            "hdl/check.py: _OUTPUTS",
            "hdl/netlist/design.py: _POLICIES",
            "isa/protection.py: _COLUMNS",
        },
    ),
    (
        "multiplier",
        [("hdl/netlist/multipliers.py", '["array", "wallace"]', '["array", "wallace", "booth"]')],
        {"hdl/netlist/multipliers.py: _REDUCE"},
    ),
    (
        "redundancy",
        [choice("protection.redundancy", "mixed")],
        {"config/schema.py: LAYER_COPIES", "isa/descriptors.py: Redundancy"},
    ),
    (
        "data_reuse",
        [choice("dppu.data_reuse", "peer")],
        {"compiler/codegen/units.py: _REUSE", "isa/registers.py: _REUSE"},
    ),
    (
        "dataflow",
        [choice("array.dataflow", "rs")],
        {
            "config/schema.py: KEEPS_SUMS",
            "config/accelerator.py: _TILE",
            "isa/registers.py: SKEW_OF_DATAFLOW",
            "isa/registers.py: UNIT_OF_DATAFLOW",
            "simulator/array/dataflows.py: DATAFLOWS",
            "simulator/cycles/scalesim.py: _FOLDS",
        },
    ),
    (
        "field of protection",
        [
            (
                "config/schema.py",
                "    s_policy: Literal",
                '    copies: int = _int(3, 1, 3, "copies")\n    s_policy: Literal',
            )
        ],
        {
            "dse/keys.py: FIELDS",
            "dse/space.py: PARAMETERS",
            "faults/ber/protection.py: what protects a stored bit",
            "hdl/area/machine.py: what protection costs",
        },
    ),
    (
        "instruction",
        [instruction(f'"PREFETCH", {FREE}, Engine.LOAD, (), "nothing"')],
        {
            "isa/validate_text.py: validate_text",
            "simulator/cycles/cycle_kernels.py: _begin",
            "simulator/cycles/engines.py: PROCESSES",
            "simulator/cycles/occupancy.py: STEPS",
            "simulator/inject/control.py: _UNREAD",
            "simulator/machine/memory.py: EFFECTS",
            "simulator/text/work.py: FIXED, MOVES, PRODUCTS, WAITS",
        },
    ),
    (
        "instruction of a tile",
        [instruction(f'"POOL", {FREE}, Engine.STORE, _TILE, "nothing"')],
        {
            "isa/validate_text.py: _TILE_ENGINES",
            "simulator/cycles/cycle_kernels.py: _begin",
            "simulator/cycles/engines.py: PROCESSES",
            "simulator/cycles/occupancy.py: STEPS",
            "simulator/inject/control.py: _UNREAD",
            "simulator/machine/memory.py: EFFECTS",
            "simulator/text/spans.py: Spans",
            "simulator/text/work.py: FIXED, MOVES, PRODUCTS, WAITS",
        },
    ),
    (
        "kind of traffic",
        [member("SCALE = 7", "    INSTRUCTION = 6\n")],
        {
            "dse/costs.py: _CAUSES",
            "report/plots.py: _KINDS",
            "simulator/cycles/dram.py: _READ, WRITTEN",
            "simulator/text/work.py: _LOADED, _MOVED_BY",
        },
    ),
    (
        "engine",
        [
            member("VECTOR = 4", "    STORE = 3\n"),
            ("isa/instructions.py", 'Field("stride", 21', 'Field("stride", 19'),
            ("isa/instructions.py", 'Field("tap", 17', 'Field("tap", 15'),
            ("isa/instructions.py", 'Field("engine", 2', 'Field("engine", 3'),
        ],
        {
            "simulator/cycles/cycle_kernels.py: _move, _moved",
            "simulator/cycles/stalls.py: STALLS",
            "simulator/cycles/stalls.py: WAITING",
            *(
                f"simulator/cycles/stalls.py: WAITING[{engine}]"
                for engine in ("LOAD", "ARRAY", "DPPU", "STORE")
            ),
        },
    ),
    (
        "source of the DPPU",
        [member("LINK = 3", "    DRAM = 2  #: fetched by the DPPU itself\n")],
        {
            "isa/instructions.py: _FETCHED",
            "isa/instructions.py: _FROM_BUFFERS",
            "simulator/cycles/cycle_kernels.py: _begin, _compute",
            "simulator/cycles/engines.py: _dppu, _compute_excess",
            "simulator/machine/memory.py: _dppu, _operands, _weights, _bias",
        },
    ),
    (
        "stall",
        [
            (
                "simulator/cycles/stalls.py",
                '        "operands": "operands are not loaded yet",\n',
                '        "operands": "operands are not loaded yet",\n        "refresh": "it is",\n',
            )
        ],
        {"simulator/cycles/stalls.py: BOUND[ARRAY]"},
    ),
    (
        "operation of a layer",
        [("network/layers.py", "    COPY = 4\n", "    COPY = 4\n    PRODUCT = 5\n")],
        {
            "compiler/mapping/plan.py: _PLANS",
            "compiler/quantise/quantiser.py: _CHOOSE",
            "compiler/quantise/scales.py: _TIES",
            "network/difference_kernels.py: propagate",
            "network/fixedpoint.py: REQUANTISED",
            "network/reference.py: _VALUES",
            "network/windows.py: VALUES",
            "simulator/inject/vector_faults.py: _REDUCE",
            "simulator/machine/memory.py: _OPERANDS",
            "simulator/machine/vector_unit.py: REDUCE",
            "simulator/machine/vector_unit.py: _EMPTY",
        },
    ),
    (
        "fault model",
        [fault_model('"burst": FaultModel("some flips", "flip", ("register",))')],
        {"cli/inject/models.py: CAMPAIGNS"},
    ),
    (
        "fault of a machine",
        [
            fault_model('"glitch": FaultModel("it is late", "late", ("register",))'),
            ("faults/models.py", '"stuck", "rate"]', '"stuck", "late", "rate"]'),
        ],
        {"cli/inject/models.py: CAMPAIGNS", "faults/machine/experiment.py: _FAULTS"},
    ),
]


@pytest.mark.parametrize(("edits", "places"), [p[1:] for p in PLACES], ids=[p[0] for p in PLACES])
def test_all_who_have_to_handle_a_row_say_so(
    tmp_path: Path, edits: list[Edit], places: set[str]
) -> None:
    said = refusing(tmp_path, *edits)
    assert {line.partition(" does not handle ")[0] for line in said} == places
    assert all(line.endswith("; add it there") for line in said)


#: Module, a row, and the whole of what its import says.
LINES: list[tuple[str, Edit, str]] = [
    (
        "flexhyca.simulator.run",
        choice("dram.model", "lpddr"),
        "simulator/cycles/dram.py: DRAM_MODELS does not handle lpddr of dram.model in "
        "config/schema.py; add it there",
    ),
    (
        "flexhyca.isa.instructions",
        instruction('"PREFETCH", 8, Engine.LOAD, (), "nothing"'),
        "isa/instructions.py: HALT has the name or the opcode 8 of another row",
    ),
    (
        "flexhyca.isa.instructions",
        instruction('"PREFETCH", 32, Engine.LOAD, (), "nothing"'),
        "isa/instructions.py: PREFETCH: opcode 32 is outside 1..31",
    ),
    (
        "flexhyca.isa.instructions",
        instruction(f'"PREFETCH", {FREE}, Engine.LOAD, (*_TILE, Field("at", 99, "")), "nothing"'),
        "isa/instructions.py: PREFETCH: 182 bits are more than 128",
    ),
    (
        "flexhyca.isa.instructions",
        instruction(f'"PREFETCH", {FREE}, Engine.LOAD, (*_TILE, Field("n", 9, "")), "nothing"'),
        "isa/instructions.py: PREFETCH has a field twice: m0, m, n0, n, slot, n",
    ),
    (
        "flexhyca.isa.instructions",
        member("SCALE = 4", "    OUTPUT = 3  #: the residual slots beside the output words\n"),
        "isa/instructions.py: LOAD: 2 bits of buffer have no room for SCALE = 4",
    ),
    (
        "flexhyca.isa.instructions",
        member("VECTOR = 4", "    STORE = 3\n"),
        "isa/instructions.py: LOAD: 130 bits are more than 128",
    ),
    (
        "flexhyca.simulator.run",
        instruction(f'"FLUSH", {FREE}, None, (), "nothing"'),
        "isa/validate_text.py: validate_text does not handle FLUSH of INSTRUCTIONS in "
        "isa/instructions.py; add it there",
    ),
    (
        "flexhyca.config.schemes",
        scheme('"more", "More", "more banks", {**_PLAIN, "dram.banks": 9}'),
        "config/schemes.py: scheme more sets dram.banks, which is no field of dppu or protection "
        "in config/schema.py",
    ),
    (
        "flexhyca.config.schemes",
        scheme('"dmr", "DMR", "two copies", {**_PLAIN, "protection.copies": 2}'),
        "config/schemes.py: scheme dmr sets protection.copies, which is no field of dppu or "
        "protection in config/schema.py",
    ),
    (
        "flexhyca.config.schemes",
        scheme('"dmr", "DMR", "two copies", {**_PLAIN, "protection.redundancy": "twice"}'),
        "config/schemes.py: scheme dmr: protection.redundancy = 'twice': must be none, space, "
        "time or time_refetch; did you mean time?",
    ),
    (
        "flexhyca.config.schemes",
        scheme('"base", "Base", "again", _PLAIN'),
        "config/schemes.py: scheme base stands twice",
    ),
    (
        "flexhyca.faults.machine.population",
        fault_model('"latch": FaultModel("flips of latches", "flip", ("latch",))'),
        "faults/models.py: FAULT_MODELS, the `hits` of a row handles latch, which "
        "StateKind in isa/registers.py does not have",
    ),
    (
        "flexhyca.faults.models",
        fault_model('"late": FaultModel("it is late", "delay", ("register",))'),
        "faults/models.py: FAULT_MODELS, the `fault` of a row handles delay, which Fault in "
        "faults/models.py does not have",
    ),
    (
        "flexhyca.faults.models",
        fault_model('"latch": FaultModel("flips of nothing", "flip")'),
        "faults/models.py: FAULT_MODELS: latch: a flip needs `hits`: what it draws",
    ),
    (
        "flexhyca.faults.models",
        fault_model('"dirt": FaultModel("some bits", "rate", ("memory",))'),
        "faults/models.py: FAULT_MODELS: dirt: a rate draws no bits; leave `hits` out",
    ),
    (
        "flexhyca.isa.registers",
        register('"array", "spare", 31, lambda a: 1, "nothing", model="latch"'),
        "isa/registers.py: REGISTERS, `model` handles latch, which the type of `model` in "
        "isa/registers.py does not have",
    ),
    (
        "flexhyca.isa.registers",
        register('"array", "spare", 31, lambda a: 1, "nothing", line="diagonal"'),
        "isa/registers.py: REGISTERS, `line` handles diagonal, which the type of `line` in "
        "isa/registers.py does not have",
    ),
    (
        "flexhyca.isa.registers",
        register('"array", "spare", -1, lambda a: 1, "nothing"'),
        "isa/registers.py: REGISTERS: array spare has the code -1; count from 0 in each unit",
    ),
]


@pytest.mark.parametrize(("module", "edit", "says"), LINES, ids=[line[2] for line in LINES])
def test_the_line_of_an_import(tmp_path: Path, module: str, edit: Edit, says: str) -> None:
    assert refusal(tmp_path, module, edit) == f"flexhyca.errors.InternalError: {says}"


SAME = [
    (
        "isa/registers.py: REGISTERS: two rows have the unit and name ('array', 'acc')",
        "flexhyca.isa.registers",
        register('"array", "acc", 9, lambda a: a.acc_bits, "no new one"'),
    ),
    (
        "isa/registers.py: REGISTERS: two rows have the unit and code ('array', 3)",
        "flexhyca.isa.registers",
        register('"array", "acc2", 3, lambda a: a.acc_bits, "a code of another"'),
    ),
    (
        "simulator/cycles/dram.py: DRAM_MODELS: two rows have the code 0",
        "flexhyca.simulator.run",
        ("simulator/cycles/dram.py", "DramModel(1, OpenRowDram)", "DramModel(0, OpenRowDram)"),
    ),
    (
        "compiler/activations.py: _ROWS: two rows have the name relu",
        "flexhyca.compiler.activations",
        ("compiler/activations.py", '        "clip",\n', '        "relu",\n'),
    ),
    (
        "compiler/activations.py: _ROWS: two rows have the aten operator relu.default",
        "flexhyca.compiler.activations",
        ("compiler/activations.py", '"relu6.default": ', '"relu.default": '),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("says", "module", "edit"), SAME, ids=[line[0] for line in SAME])
def test_no_row_passes_for_another(tmp_path: Path, says: str, module: str, edit: Edit) -> None:
    line = f"flexhyca.errors.InternalError: {says}; choose another"
    assert refusal(tmp_path, module, edit) == line


def test_copies_are_of_units_that_say_how_many_bits(tmp_path: Path) -> None:
    edit = (
        "isa/registers.py",
        'Register("array_ws", "psum", 3, lambda a: a.acc_bits, "one output of column c"',
        'Register("array_ws", "psum", 3, lambda a: a.acc_bits, "one output", protected=True',
    )
    assert refusal(tmp_path, "flexhyca.isa.protection", edit) == (
        "flexhyca.errors.InternalError: isa/protection.py: _PROTECTED_BITS does not handle "
        "array_ws of units of protected registers in isa/registers.py; add it there"
    )


def test_an_import_of_the_command_line_that_fails_is_one_line(tmp_path: Path) -> None:
    edit = fault_model('"ber2": FaultModel("x", "rate")')
    done = run(copy_of_package(tmp_path, [edit]), "-m", "flexhyca", "models")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "cli/inject/models.py: CAMPAIGNS does not handle ber2" in done.stderr


def test_a_command_says_it_in_one_line(tmp_path: Path) -> None:
    copy = copy_of_package(tmp_path, [choice("dram.model", "lpddr")])
    done = run(copy, "-m", "flexhyca", "simulate", "digits", "--no-values")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "internal error (please report it): simulator/cycles/dram.py: DRAM_MODELS does not handle "
        "lpddr of dram.model in config/schema.py; add it there"
    )


def test_the_package_as_it_is_handles_every_row(tmp_path: Path) -> None:
    found = checks(tmp_path)
    refused = "\n".join(said for _, _, said in found if said)
    if refused:
        pytest.fail(refused, pytrace=False)  # all of them: docs/adding.md says so
    for _, where, _ in found:  # "file: what in it"
        assert (ROOT / where.partition(": ")[0]).is_file(), where

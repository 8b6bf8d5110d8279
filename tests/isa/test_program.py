"""Program files and assembly: bit-for-bit round trips, and refusal of what is damaged."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import Arithmetic
from flexhyca.errors import ProgramError
from flexhyca.isa import program_file as files
from flexhyca.isa.assembly import assemble, disassemble
from flexhyca.isa.encoding import encode_text
from flexhyca.isa.instructions import ISA_VERSION
from flexhyca.isa.validate import validate
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import (
    crowded,
    networks,
    one_conv,
    random_inputs,
    random_masks,
    small_config,
)

CONFIG = small_config()


@st.composite
def programs(draw):
    network = draw(networks(Arithmetic()))
    return compile_network(network, CONFIG, random_masks(network, 0.2, 0), draw(st.integers(1, 2)))


@pytest.fixture(scope="module")
def program():
    return compile_network(one_conv(), CONFIG, crowded(9))


def test_save_and_load_is_the_same_program(program, tmp_path):
    files.save(program, tmp_path / "a.fhx")
    again = files.load(tmp_path / "a.fhx")
    for name in (f.name for f in dataclasses.fields(program)):
        mine, other = getattr(program, name), getattr(again, name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(other, mine, err_msg=name)
            assert other.dtype == mine.dtype
        else:
            assert other == mine, name
    files.save(again, tmp_path / "b.fhx")
    assert (tmp_path / "a.fhx").read_bytes() == (tmp_path / "b.fhx").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fhx", "b.fhx"]


@settings(max_examples=40, deadline=None)
@given(programs())
def test_assembly_round_trips_bit_for_bit(program):
    again = assemble(disassemble(program))
    one, two = files.parts(program), files.parts(again)
    assert one[1] == two[1]
    for name, array in one[0].items():
        np.testing.assert_array_equal(two[0][name], array, err_msg=name)
        assert two[0][name].dtype == array.dtype


@settings(max_examples=20, deadline=None)
@given(programs())
def test_the_network_comes_back_from_the_program(program):
    network = program.network
    again = assemble(disassemble(program)).network
    assert again.layers == network.layers
    assert again.tensors == network.tensors
    inputs = random_inputs(network, program.batch, 0)
    one, two = (simulate(p, inputs).outputs for p in (program, assemble(disassemble(program))))
    np.testing.assert_array_equal(one, two)


def _replace(program, **columns):
    values = {k: v.copy() for k, v in program.columns.items()}
    for name, (pc, value) in columns.items():
        values[name][pc] = value
    return dataclasses.replace(program, text=encode_text(values))


def _pc(program, name, nth=0):
    from flexhyca.isa.instructions import BY_NAME

    return int(np.flatnonzero(program.columns["op"] == BY_NAME[name].opcode)[nth])


@pytest.mark.parametrize(
    ("instruction", "field", "value", "text"),
    [
        ("LOAD", "buf_addr", 2**25 - 1, "LOAD ends outside its buffer"),
        ("LOAD", "dram_addr", 2**32 - 1, "LOAD reads outside the program's memory"),
        ("LOAD", "count", 0, "LOAD of no bytes"),
        ("GEMM", "m", 0, "empty tile"),
        ("GEMM", "m", 200, "the tile has more words than a slot"),
        ("GEMM", "slot", 255, "slot does not exist (8 slots)"),
        ("VEC", "res_slot", 255, "residual slot does not exist"),
        ("DPPU", "count", 2**17 - 1, "position table is larger than its tile"),
        ("DPPU", "pos_addr", 2**16 - 1, "table ends outside its buffer"),
        ("GEMM", "tap", 17, "more taps than the tile has neurons"),
        ("SETCFG", "index", 2**24 - 1, "SETCFG of a descriptor that does not exist"),
        ("GEMM", "m0", 2**28 - 1, "tile beyond the last pixel"),
        ("GEMM", "n0", 2**16 - 1, "tile beyond the last channel"),
    ],
)
def test_wild_fields_are_refused_on_load(program, instruction, field, value, text):
    pc = _pc(program, instruction)
    with pytest.raises(ProgramError) as error:
        validate(_replace(program, **{field: (pc, value)}), "x.fhx")
    assert str(error.value) == f"x.fhx: instruction {pc}: {text}; recompile the program"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: {"batch": 0}, "batch 0 is not in 1..65535"),
        (lambda p: {"output": 9}, "output tensor 9 does not exist"),
        (lambda p: {"credits": p.credits - 5}, "a semaphore credit is not in 0..65535"),
        (lambda p: {"debug_tile": p.debug_tile[1:]}, "debug tensors differ in length"),
        (
            lambda p: {"positions": p.positions[1:]},
            "memory region positions has 256 bytes, its tensor 255",
        ),
        (
            lambda p: {"tensors": p.tensors + np.array([0, 0, 0, 2**32])},
            "tensor x at 4294968768 lies outside the activations' memory",
        ),
    ],
)
def test_wild_tables_are_refused_on_load(program, change, text):
    broken = dataclasses.replace(program, **change(program))
    with pytest.raises(ProgramError) as error:
        validate(broken, "x.fhx")
    assert str(error.value) == f"x.fhx: {text}; recompile the program"


def test_a_file_of_another_instruction_set_is_refused(program):
    tensors, meta = files.parts(program)
    for version in (ISA_VERSION - 1, float(ISA_VERSION)):  # a number that is equal is no version
        other = {**meta, "isa_version": str(version)}
        with pytest.raises(ProgramError) as error:
            files.from_parts(tensors, other, "x.fhx")
        assert str(error.value) == (
            f"x.fhx: isa_version is {version}, this release reads {ISA_VERSION}; "
            "recompile the program"
        )


@pytest.mark.parametrize("data", [b"", b"12345678", b"\xff" * 100, b"\x10\0\0\0\0\0\0\0" + b"{}"])
def test_what_is_no_program_file_is_refused(tmp_path, data):
    (tmp_path / "x.fhx").write_bytes(data)
    with pytest.raises(ProgramError, match=r"x\.fhx: not a program file .*flexhyca compile"):
        files.load(tmp_path / "x.fhx")


def test_every_truncation_is_refused(program, tmp_path):
    files.save(program, tmp_path / "a.fhx")
    data = (tmp_path / "a.fhx").read_bytes()
    for size in range(0, len(data), len(data) // 60):
        (tmp_path / "b.fhx").write_bytes(data[:size])
        with pytest.raises(ProgramError):
            files.load(tmp_path / "b.fhx")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("HALT", "STOP", "instruction 'STOP' is unknown"),
        ("wait=", "wiat=", "is not a field of"),
        (
            "buffer=WEIGHT",
            "buffer=ROM",
            "buffer='ROM' is unknown (known: IFMAP, SCRATCHPAD, WEIGHT",
        ),
        (
            "post=ARRAY",
            "post=ALU",
            "post: engine 'ALU' is unknown (known: LOAD, ARRAY, DPPU, STORE",
        ),
        (".text", ".txt", "directive '.txt' is unknown or incomplete"),
        (".data bias i32 8", ".data bias i32 9", "has 8 elements, its head says 9"),
        (".data bias i32 8", ".data bias f32 8", "type 'f32' is unknown"),
    ],
)
def test_assembly_errors_name_the_line(program, old, new, text):
    source = disassemble(program)
    assert old in source
    with pytest.raises(ProgramError) as error:
        assemble(source.replace(old, new, 1), "p.fhs")
    assert str(error.value).startswith("p.fhs, line ")
    assert text in str(error.value)


def test_assembly_with_a_byte_order_mark_and_with_impossible_axes(program):
    assert disassemble(assemble("\ufeff" + disassemble(program))) == disassemble(program)
    for axes, problem in (
        (80, "line 1: 80 axes, at most 4 are"),
        (5, "line 1: 5 axes, at most 4 are"),
    ):
        with pytest.raises(ProgramError, match=problem):
            assemble(f".data weights i8 {'0 ' * axes}\n")
    with pytest.raises(ProgramError, match="above is damaged"):
        assemble(f".data weights i8 0 {2**40} {2**40}\n.text\n")

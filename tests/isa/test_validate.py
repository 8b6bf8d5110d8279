"""What a program must not say: each of these would crash, hang or take all memory if it ran."""

import dataclasses

import numpy as np
import pytest

from flexhyca.errors import ProgramError
from flexhyca.isa.descriptors import LAYER_COLUMNS
from flexhyca.isa.encoding import encode_text
from flexhyca.isa.instructions import BY_NAME, WINDOW_FIELDS
from flexhyca.isa.validate import validate
from flexhyca.tests.fuzz.programs import programs

PROGRAM = programs()[1]  # hybrid: taps and operands from DRAM, batch 2
WINDOW = [name for name, _ in WINDOW_FIELDS]
PIXELS = PROGRAM.batch * 9 * 7


def refuse(program, text):
    with pytest.raises(ProgramError) as error:
        validate(program, "x")
    assert str(error.value) == f"x: {text}; recompile the program"


def pc_of(name, nth=0, **fields):
    """The pc of the nth instruction `name` with these fields."""
    c = PROGRAM.columns
    found = c["op"] == BY_NAME[name].opcode
    for key, value in fields.items():
        found = found & (c[key] == value)
    return int(np.flatnonzero(found)[nth])


def with_field(pc, **fields):
    columns = {k: v.copy() for k, v in PROGRAM.columns.items()}
    for name, value in fields.items():
        columns[name][pc] = value
    return dataclasses.replace(PROGRAM, text=encode_text(columns))


def with_window(**fields):
    windows = PROGRAM.windows.copy()
    for name, value in fields.items():
        windows[0, WINDOW.index(name)] = value
    return dataclasses.replace(PROGRAM, windows=windows)


def with_layer(index, **fields):
    layers = PROGRAM.layers.copy()
    for name, value in fields.items():
        layers[index, LAYER_COLUMNS.index(name)] = value
    return dataclasses.replace(PROGRAM, layers=layers)


def test_a_window_whose_size_wraps_around():
    # 2**22 * 2**21 * 2**21 elements are 0 in 64 bits: the kernels would read far outside
    refuse(with_window(rows=2**22, cols=2**21, cc=2**21), "a window ends outside the ifmap buffer")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"nky": 4}, "the window has more rows than the kernel"),
        ({"ky0": 1}, "the window has more rows than the kernel"),
        ({"kcc": 7}, "the window has channels that the layer's weights have not"),
        ({"kc0": 2**24}, "the window has channels that the layer's weights have not"),
    ],
)
def test_reductions_beyond_the_layer(fields, text):
    refuse(with_window(**fields), f"instruction {pc_of('GEMM')}: {text}")


@pytest.mark.parametrize(
    ("pc", "fields", "text"),
    [
        (pc_of("GEMM"), {"wait": 2}, "an engine waits for its own token"),
        (pc_of("HALT"), {"wait": 1}, "an engine waits for its own token"),
        (pc_of("LOAD", buffer=2), {"count": 2}, "LOAD of positions that are not one row of the "
         "position tables"),
        (pc_of("LOAD", buffer=2), {"dram_addr": 0}, "LOAD of positions that are not one row of "
         "the position tables"),
    ],
)  # fmt: skip
def test_instructions(pc, fields, text):
    refuse(with_field(pc, **fields), f"instruction {pc}: {text}")


def test_taps_without_a_collector_and_the_other_way_round():
    taken = pc_of("DPPU", source=0)
    given = pc_of("GEMM", tap=PROGRAM.columns["tap"][PROGRAM.columns["tap"] > 0][0])
    text = "DPPU collects from the taps what no GEMM has left there"
    refuse(with_field(given, tap=0), f"instruction {taken}: {text}")


def test_the_text_ends_with_its_only_halt():
    text = "HALT must be the last instruction, and no other one"
    short = dataclasses.replace(
        PROGRAM,
        text=PROGRAM.text[:-1],
        debug_layer=PROGRAM.debug_layer[:-1],
        debug_tile=PROGRAM.debug_tile[:-1],
        memory_map={
            **PROGRAM.memory_map,
            "text": (PROGRAM.memory_map["text"][0], PROGRAM.text.nbytes - 16),
        },
    )
    refuse(short, f"instruction {len(short.text) - 1}: {text}")


@pytest.mark.parametrize(
    ("index", "fields", "text"),
    [
        (0, {"pad_left": -7}, "layer a: a padding of -7 moves its windows off the map"),
        (0, {"stride_h": 4096, "stride_w": 4096}, "layer a: its windows cover "
         f"{(8 * 4096 + 3) * (6 * 4096 + 3) * 6} elements, at most {2**22 + 16 * (63 * 14)}"),
        (5, {"kernel_h": 2}, "layer add: kernel_h=2 must be 1 in ADD"),
        (3, {"c_offset": 1}, "layer max: c_offset=1 must be 0 in MAXPOOL"),
    ],
)  # fmt: skip
def test_layers(index, fields, text):
    refuse(with_layer(index, **fields), text)


def test_layers_stand_in_order_of_execution():
    refuse(with_layer(5, residual=6), "layer add reads tensor t6 before it is written")
    refuse(
        with_layer(2, output=2, residual=-1),
        "layer residual writes tensor t2, which has its values already",
    )
    refuse(
        dataclasses.replace(PROGRAM, output=8), "the last layer writes tensor 9, the output is 8"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"credits": PROGRAM.credits + 2**31}, "a semaphore credit is not in 0..65535"),
        ({"scales": (float("nan"), *PROGRAM.scales[1:])},
         "tensor t0: scale nan is not a positive number"),
        ({"name": "a\x1b[31mb"}, r"name 'a\x1b[31mb' cannot be printed"),
    ],
)  # fmt: skip
def test_tables(changes, text):
    refuse(dataclasses.replace(PROGRAM, **changes), text)


def test_outputs_that_nobody_stores():
    pc = pc_of("STORE")
    tile = int(PROGRAM.columns["m"][pc] * PROGRAM.columns["n"][pc])
    name = PROGRAM.layer_names[PROGRAM.debug_layer[pc]]
    wanted = PIXELS * 8
    kept = tile - int(PROGRAM.columns["n"][pc])
    refuse(
        with_field(pc, m=int(PROGRAM.columns["m"][pc]) - 1),
        f"layer {name}: {wanted - tile + kept} of {wanted} outputs are stored",
    )

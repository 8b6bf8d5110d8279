"""Maps of stuck PEs: files, random ones, and the lines that say what is wrong with one."""

from pathlib import Path

import pytest

from flexhyca.config import load_config
from flexhyca.errors import ConfigError, ProgramError
from flexhyca.isa.assembly import assemble, disassemble
from flexhyca.isa.pe_map import (
    StuckPe,
    as_text,
    check_pe_map,
    given_pe_map,
    load_pe_map,
    random_pe_map,
    registers_of,
    stuck_pes,
    sum_register,
)
from flexhyca.isa.program_file import content_digest, from_parts, load, parts, save
from flexhyca.tests.support import compile_network, one_conv, small_config

CONFIG = load_config("flexhyca-32x32")


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    lines = ("{row: 3, col: 4}", "{row: 3, col: 5, reg: act, bit: 7, stuck: 1}")
    path.write_text("".join(f"- {line}\n" for line in (*lines, "{row: 9, col: 0, bit: 2}")))
    found = load_pe_map(path, CONFIG)
    assert found == (
        StuckPe(row=3, col=4),
        StuckPe(row=3, col=5, reg="act", bit=7, stuck=1),
        StuckPe(row=9, col=0, bit=2),
    )
    again = tmp_path / "again.yaml"
    again.write_text(as_text(found))
    assert load_pe_map(again, CONFIG) == found
    for empty in ("", "[]", as_text(())):
        path.write_text(empty)
        assert load_pe_map(path, CONFIG) == ()


def test_short_forms() -> None:
    dead, bit = StuckPe(row=0, col=0), StuckPe(row=0, col=0, bit=5)
    acc_bits, protected = CONFIG.arithmetic.acc_bits, 1  # configurable: one column of this shift
    flip_flops = dead.flip_flops(CONFIG, 8)
    assert {name for name, _, _ in flip_flops} == {"acc"}
    assert len(flip_flops) == acc_bits + 2 * protected
    assert bit.flip_flops(CONFIG, 8) == [("acc", 5, 0)]
    for flow, name in (("os", "acc"), ("ws", "psum"), ("is", "psum")):
        other = load_config("base-32x32", [f"array.dataflow={flow}"])
        assert sum_register(other).name == name
        assert len(dead.flip_flops(other, 8)) == acc_bits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row: 3", "no list of stuck PEs; write - {row: 3, col: 4}, a line each"),
        ("- 3", "entry 1 = 3: write {row: 3, col: 4}"),
        ("- {row: 3}", "entry 1: col is missing; write {row: 3, col: 4}"),
        (
            "- {row: 3, col: 4, register: act}",
            "entry 1: there is no field 'register'; known are row, col, reg, bit, stuck",
        ),
        ("- {row: -1, col: 4}", "entry 1: row = -1: must be a whole number from 0"),
        ("- {row: 1, col: 4, stuck: 2}", "entry 1: stuck = 2: must be 0 or 1"),
        ("- {row: 1, col: yes}", "entry 1: col = True: must be a whole number from 0"),
        (
            "- {row: 1, col: 32}",
            "entry 1: col = 32: the array has 32 x 32 PEs; use 0..31",
        ),
        (
            "- {row: 1, col: 2, reg: psum}",
            "entry 1: reg = 'psum': PEs of dataflow os have "
            f"{', '.join(registers_of(CONFIG))}; use one of them",
        ),
        (
            "- {row: 1, col: 2, reg: act, bit: 8}",
            "entry 1: bit = 8: act has 8 bits; use 0..7",
        ),
        (
            "- {row: 1, col: 2}\n- {row: 1, col: 2, bit: 3, stuck: 1}",
            "entry 2: acc of PE (1, 2) is stuck in entry 1 already; delete one",
        ),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_pe_map(path, CONFIG)
    assert str(error.value) == f"{path}: {message}"


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError) as error:
        given_pe_map("no.yaml", CONFIG, 0)
    assert str(error.value) == (
        "no.yaml: No such file or directory; give a YAML file of stuck PEs, or how many to draw"
    )


def test_random_maps() -> None:
    whole = random_pe_map(CONFIG, 1024, 3)
    assert stuck_pes(whole) == 1024
    assert check_pe_map(whole, CONFIG, "it") == whole
    assert {(entry.reg, entry.stuck) for entry in whole} == {
        (reg, stuck) for reg in registers_of(CONFIG) for stuck in (0, 1)
    }
    # A longer map of a seed begins with a shorter one.
    assert given_pe_map("20", CONFIG, 3) == random_pe_map(CONFIG, 20, 3) == whole[:20]
    assert random_pe_map(CONFIG, 20, 4) != whole[:20]
    assert random_pe_map(CONFIG, 0, 3) == ()
    with pytest.raises(ConfigError) as error:
        random_pe_map(CONFIG, 1025)
    assert str(error.value) == (
        "pe-map: 1025 stuck PEs, and the array has 32 x 32 = 1024; draw 0..1024"
    )


def test_a_program_carries_its_map(tmp_path: Path) -> None:
    config = small_config("protection.s_th=0")
    pe_map = random_pe_map(config, 3)
    program = compile_network(one_conv(), config, pe_map=pe_map)
    save(program, tmp_path / "x.fhx")
    for again in (load(tmp_path / "x.fhx"), assemble(disassemble(program))):
        assert (again.pe_map, again.repaired) == (pe_map, True)
    bare = compile_network(one_conv(), config)
    assert "pe_map" not in parts(bare)[1]
    assert not bare.repaired
    unrepaired = compile_network(one_conv(), config, pe_map=pe_map, repair=False)
    assert len({content_digest(p) for p in (program, bare, unrepaired)}) == 3


def test_a_program_with_an_impossible_map_is_refused() -> None:
    program = compile_network(one_conv(), small_config("protection.s_th=0"), pe_map=[])
    tensors, meta = parts(program)
    with pytest.raises(ProgramError) as error:
        from_parts(tensors, meta | {"pe_map": '[{"row": 9, "col": 0}]'}, "x.fhx")
    assert error.value.what == (
        "x.fhx: metadata pe_map: entry 1: row = 9: the array has 4 x 4 PEs; use 0..3"
    )

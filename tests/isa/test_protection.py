"""Which bits have copies: the columns that requantisation makes the top bits of a result of."""

import pytest

from flexhyca.config import load_config
from flexhyca.isa.protection import COPIES, bits_of_layer, copies, protected_columns
from flexhyca.isa.registers import BY_UNIT, REGISTERS


def config(*overrides):
    return load_config("flexhyca-32x32", list(overrides))


def test_routed_copies_follow_the_layer_s_shift():
    c = config("protection.nb_th=1")
    assert protected_columns(c, 7) == range(14, 15)
    assert protected_columns(c, 9) == range(16, 17)
    assert protected_columns(c, 7, "array_ws") == range(0)


def test_the_dppu_is_tripled_directly():
    c = config("protection.ib_th=2")
    for shift in (7, 12):
        for unit in ("dppu", "dppu_excess"):
            assert protected_columns(c, shift, unit) == range(13, 24)


def test_products_have_copies_where_columns_are_merged_or_not_routed():
    c = config("protection.nb_th=1", "protection.q_scale=2")
    assert protected_columns(c, 2, register="prod") == range(9, 10)
    assert protected_columns(c, 5, register="prod") == range(12, 16)  # 12 to 15 are one unit
    assert protected_columns(c, 5) == range(12, 13)
    c = config("protection.nb_th=2", "protection.ib_th=2", "protection.q_scale=4")
    assert protected_columns(c, 6, register="prod") == range(10, 16)  # not worth routing
    assert protected_columns(c, 6) == range(12, 14)
    c = config("protection.nb_th=1", "protection.q_scale=2", "protection.voter=output")
    assert protected_columns(c, 5, register="prod") == protected_columns(c, 5)


def test_direct_copies_are_all_columns_that_a_layer_may_select():
    c = config("protection.pe_policy=direct", "protection.nb_th=1", "protection.ib_th=3")
    for shift in (7, 12):
        assert protected_columns(c, shift) == range(14, 24)
        assert protected_columns(c, shift, "dppu") == range(12, 24)


def test_saturation_needs_all_columns_above():
    c = config("arithmetic.overflow=saturate", "protection.nb_th=1", "protection.ib_th=2")
    assert protected_columns(c, 7) == range(14, 24)
    assert protected_columns(c, 7, "dppu") == range(13, 24)


@pytest.mark.parametrize("unit", BY_UNIT)
def test_copies_are_those_of_registers_that_hold_sums_of_products(unit):
    c = config("protection.nb_th=2", "protection.ib_th=2")
    for register in BY_UNIT[unit].values():
        expected = COPIES if register.protected else 1
        assert copies(c, 7, register.name, 14, unit) == expected
        assert copies(c, 7, register.name, 12, unit) == 1


def test_protected_registers_are_sums_of_products_of_the_array_and_the_dppu():
    found = {(r.unit, r.name) for r in REGISTERS if r.protected}
    trees = [f"tree{stage}" for stage in range(1, 13)]
    units = [(unit, name) for unit in ("dppu", "dppu_excess") for name in ("prod", "psum", *trees)]
    assert found == {("array", "prod"), ("array", "acc"), *units}


def test_without_protected_bits_there_is_one_flip_flop_a_bit():
    c = config("protection.nb_th=0", "protection.pe_policy=none", "protection.ib_th=0")
    assert len(bits_of_layer(c, 7)) == 8 + 8 + 16 + 24
    assert protected_columns(c, 7, "dppu") == range(0)
    # The DPPU may have copies where the array has none.
    c = config("protection.nb_th=0", "protection.pe_policy=none", "protection.ib_th=2")
    assert protected_columns(c, 7) == range(0)
    assert protected_columns(c, 7, "dppu") == range(13, 24)


def test_every_copy_is_a_flip_flop():
    c = config("protection.nb_th=1", "protection.ib_th=1")
    assert len(bits_of_layer(c, 7)) == 8 + 8 + (16 + 2 * 2) + (24 + 2)  # prod: 14 and 15 merged

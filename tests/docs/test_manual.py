"""The pages of the instruction set and of the registers are what the tables say."""

from collections.abc import Callable
from pathlib import Path

import pytest

import flexhyca
from flexhyca.isa import instructions, register_manual
from flexhyca.isa.registers import BY_UNIT, REGISTERS


@pytest.mark.parametrize(
    ("page", "manual", "module"),
    [
        ("isa.md", instructions.instruction_page, "instructions"),
        ("registers.md", register_manual.register_page, "register_manual"),
    ],
)
def test_page_is_current(page: str, manual: Callable[[], str], module: str) -> None:
    path = Path(flexhyca.__file__).parent / "docs" / page
    assert path.read_text(encoding="utf-8") == manual(), (
        f"run: python -c 'from flexhyca.isa.{module} import {manual.__name__} as page; "
        'print(page(), end="")\' '
        f"> docs/{page}"
    )


def test_every_unit_and_fault_model_is_explained() -> None:
    assert list(register_manual.UNITS) == list(BY_UNIT)
    assert set(register_manual.MODEL_MEANINGS) == {register.model for register in REGISTERS}


def test_widths_are_formulas() -> None:
    widths = {r.name: register_manual.width(r) for r in BY_UNIT["dppu"].values()}
    assert (widths["act"], widths["prod"]) == ("act_bits", "act_bits + weight_bits")
    assert widths["tree2"] == "act_bits + weight_bits + 2"
    assert register_manual.width(BY_UNIT["buffer"]["ifmap"]) == "8"

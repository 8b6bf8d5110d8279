"""Instruction words: no overlap, every field at its limits, scalar and vectorised alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config.buffers import MAX_BUFFER
from flexhyca.config.schema import MAX_SLOTS, MAX_STREAM
from flexhyca.errors import ProgramError
from flexhyca.isa.encoding import FIELD_NAMES, decode, decode_text, encode, encode_text
from flexhyca.isa.instructions import (
    BY_NAME,
    BY_OPCODE,
    HEADER,
    INSTRUCTION_BITS,
    INSTRUCTIONS,
    instruction_page,
)

LEGAL = {
    (i.name, f.name): [e.value for e in f.enum] if f.enum else None
    for i in INSTRUCTIONS
    for f in HEADER + i.fields
}
FIELDS = [(i.name, f.name) for i in INSTRUCTIONS for f in HEADER[1:] + i.fields]


def test_no_field_overlaps_another_and_all_fit():
    for ins in INSTRUCTIONS:
        taken = np.zeros(INSTRUCTION_BITS, int)
        for bit, f in ins.layout().values():
            assert bit + f.bits <= INSTRUCTION_BITS, (ins.name, f.name)
            taken[bit : bit + f.bits] += 1
        assert taken.max() == 1, ins.name
        assert len(ins.layout()) == len(HEADER + ins.fields), "a field name stands twice"


def test_limits_of_the_configuration_are_those_of_the_fields():
    load, gemm = BY_NAME["LOAD"].layout(), BY_NAME["GEMM"].layout()
    assert load["buf_addr"][1].limit + 1 == MAX_BUFFER
    assert gemm["slot"][1].limit == MAX_SLOTS
    assert MAX_STREAM == gemm["m"][1].limit == gemm["n"][1].limit


def test_opcodes_are_unique_and_fit():
    assert len(BY_OPCODE) == len(BY_NAME) == len(INSTRUCTIONS)
    assert all(0 < i.opcode <= HEADER[0].limit for i in INSTRUCTIONS)


def _largest(name, field):
    legal = LEGAL[name, field]
    return legal[-1] if legal else BY_NAME[name].layout()[field][1].limit


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_field_round_trips_at_its_limits_alone(name, field):
    for value in (0, 1, _largest(name, field)):
        word = encode(name, {field: value})
        got, values = decode(*word)
        assert got == name
        assert values.pop(field) == value
        assert not any(values.values())


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_one_above_the_limit_is_refused(name, field):
    f = BY_NAME[name].layout()[field][1]
    with pytest.raises(ProgramError) as error:
        encode(name, {field: f.limit + 1}, pc=7)
    assert str(error.value) == (
        f"{name} at pc 7: {field}={f.limit + 1} does not fit {f.bits} bits (0..{f.limit})"
    )


@st.composite
def instructions(draw):
    ins = draw(st.sampled_from(INSTRUCTIONS))
    values = {}
    for f in HEADER[1:] + ins.fields:
        legal = LEGAL[ins.name, f.name]
        numbers = (
            st.sampled_from(legal)
            if legal
            else st.one_of(st.sampled_from([0, f.limit]), st.integers(0, f.limit))
        )
        values[f.name] = draw(numbers)
    return ins.name, values


@settings(max_examples=200, deadline=None)
@given(st.lists(instructions(), min_size=1, max_size=20))
def test_scalar_and_vectorised_agree(rows):
    words = np.array([encode(*row) for row in rows], np.uint64)
    columns = {c: np.array([v.get(c, 0) for _, v in rows], np.int64) for c in FIELD_NAMES}
    columns["op"] = np.array([BY_NAME[n].opcode for n, _ in rows], np.int64)
    np.testing.assert_array_equal(encode_text(columns), words)
    decoded = decode_text(words)
    for c in FIELD_NAMES:
        np.testing.assert_array_equal(decoded[c], columns[c], err_msg=c)
    assert [decode(*w) for w in words.tolist()] == rows


def _refused(word, text):
    for attempt in (
        lambda: decode(*word),
        lambda: decode_text(np.array([word], np.uint64)),
    ):
        with pytest.raises(ProgramError) as error:
            attempt()
        assert str(error.value) == text


def test_damaged_words_are_refused():
    low, high = encode("HALT", {})
    used = sum(f.bits for f in HEADER)
    _refused(
        (low, high | 1 << 63),
        f"HALT at pc 0: bits 127:{used} must be zero; the word is damaged or from another version",
    )
    known = ", ".join(f"{i.opcode} {i.name}" for i in INSTRUCTIONS)
    _refused(
        (31, 0),
        f"instruction 0: opcode 31 is unknown (known: {known}); "
        "recompile the program with this version",
    )
    bit = BY_NAME["DPPU"].layout()["source"][0]
    _refused(
        (encode("DPPU", {})[0] | 3 << bit, 0),
        "DPPU at pc 0: source=3 means nothing (known: 0 ARRAY, 1 BUFFER, 2 DRAM)",
    )


def test_unknown_field_is_refused():
    with pytest.raises(ProgramError, match="HALT at pc 0: field slot does not exist"):
        encode("HALT", {"slot": 1})


def test_the_manual_names_every_field():
    text = instruction_page()
    for ins in INSTRUCTIONS:
        assert f"## {ins.name}" in text
        for bit, f in ins.layout().values():
            assert f"| {bit + f.bits - 1}:{bit} | `{f.name}` |" in text

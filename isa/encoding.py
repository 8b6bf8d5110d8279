"""Instruction words: encode and decode, one at a time and whole texts at once.

`encode_text` and `decode_text` are the vectorised twins of `encode` and `decode`; tests hold them
equal on every field at its limits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import ProgramError
from .instructions import BY_NAME, BY_OPCODE, HEADER, INSTRUCTION_BITS, INSTRUCTIONS, Instruction

InstructionWords = NDArray[np.uint64]  #: shape (instructions, 2)

_OP_MASK = (1 << HEADER[0].bits) - 1
#: Every field name of any instruction, `op` first: the columns of a decoded text.
FIELD_NAMES: tuple[str, ...] = tuple(
    dict.fromkeys(f.name for i in INSTRUCTIONS for f in HEADER + i.fields)
)


def _instruction(opcode: int, pc: int) -> Instruction:
    try:
        return BY_OPCODE[opcode]
    except KeyError:
        known = ", ".join(f"{i.opcode} {i.name}" for i in INSTRUCTIONS)
        raise ProgramError(
            f"instruction {pc}: opcode {opcode} is unknown (known: {known})",
            "recompile the program with this version",
        ) from None


def encode(name: str, values: Mapping[str, int], pc: int = 0) -> tuple[int, int]:
    """One instruction -> (low, high) 64-bit words. Fields that are not named are 0.

    Raises ProgramError for an unknown field or a value that does not fit.
    """
    ins = BY_NAME[name]
    layout = ins.layout()
    word = ins.opcode
    for key, value in values.items():
        if key == "op" or key not in layout:
            raise ProgramError(
                f"{name} at pc {pc}: field {key} does not exist (fields: {', '.join(layout)})"
            )
        bit, f = layout[key]
        if not 0 <= value <= f.limit:
            raise ProgramError(
                f"{name} at pc {pc}: {key}={value} does not fit {f.bits} bits (0..{f.limit})"
            )
        word |= int(value) << bit
    return word & (2**64 - 1), word >> 64


def decode(low: int, high: int, pc: int = 0) -> tuple[str, dict[str, int]]:
    """(low, high) words -> name and all fields but `op`; reserved bits and enums are checked."""
    word = int(low) | int(high) << 64
    ins = _instruction(word & _OP_MASK, pc)
    values, used = {}, 0
    for name, (bit, f) in ins.layout().items():
        values[name] = word >> bit & f.limit
        used = bit + f.bits
        if f.enum is not None and values[name] not in f.enum._value2member_map_:
            raise ProgramError(
                f"{ins.name} at pc {pc}: {name}={values[name]} means nothing "
                f"(known: {', '.join(f'{e.value} {e.name}' for e in f.enum)})"
            )
    if word >> used:
        raise ProgramError(
            f"{ins.name} at pc {pc}: bits {INSTRUCTION_BITS - 1}:{used} must be zero",
            "the word is damaged or from another version",
        )
    del values["op"]
    return ins.name, values


def _put(
    text: InstructionWords, rows: NDArray[np.intp], values: NDArray[np.int64], bit: int
) -> None:
    v = values.astype(np.uint64)
    if bit < 64:
        text[rows, 0] |= v << np.uint64(bit)
        if bit:
            text[rows, 1] |= v >> np.uint64(64 - bit)
    else:
        text[rows, 1] |= v << np.uint64(bit - 64)


def _get(text: InstructionWords, bit: int, bits: int) -> NDArray[np.int64]:
    if bit < 64:
        v = text[:, 0] >> np.uint64(bit)
        if bit + bits > 64:
            v = v | text[:, 1] << np.uint64(64 - bit)
    else:
        v = text[:, 1] >> np.uint64(bit - 64)
    return (v & np.uint64((1 << bits) - 1)).astype(np.int64)


def encode_text(columns: Mapping[str, NDArray[np.int64]]) -> InstructionWords:
    """Columns of equal length (`op` and any fields) -> text; raises ProgramError as `encode`."""
    ops = columns["op"]
    text = np.zeros((len(ops), 2), np.uint64)
    for opcode in np.unique(ops):
        rows = np.flatnonzero(ops == opcode)
        ins = _instruction(int(opcode), int(rows[0]))
        for name, (bit, f) in ins.layout().items():
            if name not in columns:
                continue
            values = columns[name][rows]
            bad = np.flatnonzero((values < 0) | (values > f.limit))
            if bad.size:
                raise ProgramError(
                    f"{ins.name} at pc {rows[bad[0]]}: {name}={values[bad[0]]} does not fit "
                    f"{f.bits} bits (0..{f.limit})"
                )
            _put(text, rows, values, bit)
    return text


def decode_text(text: InstructionWords) -> dict[str, NDArray[np.int64]]:
    """Text -> one int64 column per field name; fields that an instruction lacks are 0."""
    columns = {name: np.zeros(len(text), np.int64) for name in FIELD_NAMES}
    columns["op"] = _get(text, 0, HEADER[0].bits)
    for opcode in np.unique(columns["op"]):
        rows = np.flatnonzero(columns["op"] == opcode)
        ins = _instruction(int(opcode), int(rows[0]))
        part = text[rows]
        used = 0
        for name, (bit, f) in ins.layout().items():
            columns[name][rows] = values = _get(part, bit, f.bits)
            used = bit + f.bits
            if f.enum is not None:
                bad = np.flatnonzero(~np.isin(values, [e.value for e in f.enum]))
                if bad.size:
                    decode(int(part[bad[0], 0]), int(part[bad[0], 1]), pc=int(rows[bad[0]]))
        low = part[:, 0] >> np.uint64(used) if used < 64 else np.zeros(len(rows), np.uint64)
        high = part[:, 1] >> np.uint64(max(used - 64, 0)) if used < 128 else low
        bad = np.flatnonzero((low | high) != 0)
        if bad.size:
            decode(int(part[bad[0], 0]), int(part[bad[0], 1]), pc=int(rows[bad[0]]))
    return columns

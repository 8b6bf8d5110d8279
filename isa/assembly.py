"""Assembly text: the whole program as something a person can read, change and assemble again.

    .meta name "digits"            a line of metadata, the value as JSON
    .data weights i8 640           a tensor as base64 lines, until the next directive
    .rows layers i64 6 26          a tensor as rows of decimal numbers
    .text                          instructions follow
    .at 3 12                       what follows belongs to layer 3, tile 12 (debug tables)
    GEMM wait=LOAD|STORE post=STORE first=1 last=1 m0=0 m=32 n0=0 n=16 slot=4

Fields that are not named are 0; enumerated fields take names; `;` starts a comment.  Disassembling
and assembling again gives the same bits.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProgramError
from .descriptors import LAYER_COLUMNS
from .encoding import decode, encode
from .instructions import BY_NAME, Buffer, Engine
from .program import Program
from .program_file import from_parts, parts

_CODES = {"u64": "<u8", "i64": "<i8", "i32": "<i4", "i8": "|i1", "u8": "|u1"}
_NAMES = {np.dtype(v): k for k, v in _CODES.items()}
_AS_ROWS = ("layers", "windows", "tensors", "credits", "positions_indptr")
_MOST_AXES = 4  # of a block; no tensor of a program has more
_SCRATCHPAD = "SCRATCHPAD"  # the other name of Buffer.IFMAP
_LINE = 57  # bytes of a base64 line of 76 characters


def disassemble(program: Program) -> str:
    """The program as assembly text."""
    tensors, meta = parts(program)
    lines = ["; flexhyca assembly; `flexhyca asm` makes the program file again"]
    lines += [f".meta {key} {value}" for key, value in sorted(meta.items())]
    for name, array in tensors.items():
        if name in ("text", "debug.layer", "debug.tile"):
            continue
        shape = " ".join(map(str, array.shape))
        if name in _AS_ROWS:
            lines.append(f".rows {name} {_NAMES[array.dtype]} {shape}")
            if name == "layers":
                lines.append(f"; {' '.join(LAYER_COLUMNS)}")
            lines += [" ".join(map(str, np.atleast_1d(row).tolist())) for row in array]
        else:
            lines.append(f".data {name} {_NAMES[array.dtype]} {shape}")
            data = array.tobytes()
            lines += [
                base64.b64encode(data[i : i + _LINE]).decode() for i in range(0, len(data), _LINE)
            ]
    lines.append(".text")
    lines += _text_lines(program)
    return "\n".join(lines) + "\n"


def _text_lines(program: Program) -> Iterator[str]:
    here: tuple[int, int] | None = None
    places = zip(program.debug_layer.tolist(), program.debug_tile.tolist(), strict=True)
    shared = program.config.buffers.scratchpad_bytes > 0
    for pc, ((low, high), place) in enumerate(zip(program.text.tolist(), places, strict=True)):
        if place != here:
            here = place
            yield f".at {place[0]} {place[1]}  ; {program.layer_names[place[0]]}"
        yield line(low, high, pc, shared)


def line(low: int, high: int, pc: int = 0, scratchpad: bool = False) -> str:
    """One instruction as text. Raises ProgramError for words that mean nothing.

    scratchpad : whether the machine has one memory for inputs and weights, which is named then.
    """
    name, values = decode(low, high, pc)
    layout = BY_NAME[name].layout()
    words = [name]
    for key, value in values.items():
        if key == "buffer" and value == Buffer.SCRATCHPAD and scratchpad:
            words.append(f"buffer={_SCRATCHPAD}")
            continue
        if not value:
            continue
        enum = layout[key][1].enum
        if key in ("wait", "post", "engines"):
            shown = "|".join(e.name for e in Engine if value >> e & 1)
        else:
            shown = enum(value).name if enum else str(value)
        words.append(f"{key}={shown}")
    return " ".join(words)


def assemble(source: str, where: str = "assembly") -> Program:
    """Assembly text -> validated program. Raises ProgramError with the line that is wrong."""
    return _Assembler(where).run(source)


class _Assembler:
    def __init__(self, where: str) -> None:
        self.where = where
        self.line = 0
        self.meta: dict[str, str] = {}
        self.tensors: dict[str, NDArray[Any]] = {}
        self.words: list[tuple[int, int]] = []
        self.places: list[tuple[int, int]] = []
        self.place = (0, 0)
        self.in_text = False
        self.open: tuple[str, str, tuple[int, ...], str] | None = None
        self.body: list[str] = []

    def run(self, source: str) -> Program:
        for number, raw in enumerate(source.removeprefix("\ufeff").splitlines(), start=1):
            self.line = number
            line = raw if raw.startswith(".meta ") else raw.split(";", 1)[0]
            line = line.strip()
            if not line:
                continue
            if line.startswith("."):
                self._close()
                self._directive(*line.split(maxsplit=1))
            elif self.in_text:
                self.words.append(self._instruction(line.split()))
                self.places.append(self.place)
            elif self.open is not None:
                self.body.append(line)
            else:
                raise self._error("data outside a .rows or .data block")
        self._close()
        self.tensors["text"] = np.array(self.words, np.uint64).reshape(len(self.words), 2)
        places = np.array(self.places, np.int32).reshape(len(self.places), 2)
        self.tensors["debug.layer"] = np.ascontiguousarray(places[:, 0])
        self.tensors["debug.tile"] = np.ascontiguousarray(places[:, 1])
        return from_parts(self.tensors, self.meta, self.where, by_name=True)

    def _error(self, what: str, advice: str = "") -> ProgramError:
        return ProgramError(f"{self.where}, line {self.line}: {what}", advice)

    def _directive(self, name: str, rest: str = "") -> None:
        words = rest.split()
        if name == ".meta" and len(words) > 1:
            key, value = rest.split(maxsplit=1)
            self.meta[key] = value
        elif name == ".text":
            self.in_text = True
        elif name == ".at" and len(words) == 2:
            layer, tile = (self._number(w, 2**31 - 1) for w in words)
            self.place = (layer, tile)
        elif name in (".rows", ".data") and len(words) >= 3:
            if words[1] not in _CODES:
                raise self._error(f"type {words[1]!r} is unknown (known: {', '.join(_CODES)})")
            if len(words) - 2 > _MOST_AXES:
                raise self._error(f"{len(words) - 2} axes, at most {_MOST_AXES} are")
            shape = tuple(self._number(w, 2**40) for w in words[2:])
            self.open = (words[0], words[1], shape, name)
            self.in_text = False
        else:
            raise self._error(f"directive {name!r} is unknown or incomplete")

    def _number(self, word: str, limit: int) -> int:
        if not word.isascii() or not word.isdigit() or len(word) > 20 or int(word) > limit:
            raise self._error(f"{word!r} is not a number in 0..{limit}")
        return int(word)

    def _close(self) -> None:
        """End the open .rows or .data block: check its size and keep the tensor."""
        if self.open is None:
            return
        name, code, shape, kind = self.open
        body, self.body, self.open = self.body, [], None
        dtype = np.dtype(_CODES[code])
        try:
            if kind == ".data":
                flat = np.frombuffer(
                    b"".join(base64.b64decode(line, validate=True) for line in body), dtype
                )
            else:
                flat = np.array([int(w) for line in body for w in line.split()], dtype)
        except (ValueError, OverflowError, binascii.Error) as error:
            raise self._error(f"the block {kind} {name} above is damaged ({error})") from None
        count = 1
        for size in shape:
            count *= size
        if flat.size != count:
            raise self._error(
                f"the block {kind} {name} above has {flat.size} elements, its head says {count}"
            )
        try:
            self.tensors[name] = flat.reshape(shape)
        except ValueError as error:  # of no elements, but of sizes that no array has
            raise self._error(f"the block {kind} {name} above is damaged ({error})") from None

    def _instruction(self, words: list[str]) -> tuple[int, int]:
        name = words[0]
        if name not in BY_NAME:
            raise self._error(f"instruction {name!r} is unknown (known: {', '.join(BY_NAME)})")
        layout = BY_NAME[name].layout()
        values: dict[str, int] = {}
        for word in words[1:]:
            key, equals, text = word.partition("=")
            if not equals or key not in layout or key == "op" or key in values:
                raise self._error(
                    f"{word!r} is not a field of {name}, or stands there twice "
                    f"(fields: {', '.join(k for k in layout if k != 'op')})"
                )
            values[key] = self._value(name, key, text)
        try:
            return encode(name, values, pc=len(self.words))
        except ProgramError as error:
            raise self._error(error.what, error.advice) from None

    def _value(self, name: str, key: str, text: str) -> int:
        f = BY_NAME[name].layout()[key][1]
        if key in ("wait", "post", "engines") and not text.isdigit():
            mask = 0
            for part in text.split("|"):
                if part not in Engine.__members__:
                    known = ", ".join(Engine.__members__)
                    raise self._error(f"{key}: engine {part!r} is unknown (known: {known})")
                mask |= 1 << Engine[part]
            return mask
        if f.enum is not None and text in f.enum.__members__:
            return int(f.enum[text])
        if f.enum is not None and not text.isdigit():
            known = ", ".join(f.enum.__members__)
            raise self._error(f"{key}={text!r} is unknown (known: {known})")
        return self._number(text, 2**32)

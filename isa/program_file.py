"""The program file: everything an execution needs, in one safetensors file.

Tensors: those of `Program`, under fixed names (`_TENSORS`). Metadata (JSON strings): versions,
names, scales, batch, memory map, arithmetic, configuration. Every size and offset is validated on
load, before anything is executed.

Assembly of earlier instruction sets is read, too: its names are those of today, and its tables lack
columns. Program files of theirs are refused: fields of their instructions stand at other bits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Config, config_from_json, hash_of
from ..errors import ConfigError, ProgramError, first_line
from ..files import reading, write_whole
from ..tables import complete
from .descriptors import LAYER_COLUMNS
from .instructions import ISA_VERSION, WINDOW_FIELDS, Engine
from .pe_map import check_pe_map, entries_of, plain
from .program import Program
from .rules import ADVICE
from .validate import validate

FORMAT = "flexhyca-program"
FORMAT_VERSION = 2

_TENSORS: dict[str, tuple[Any, int]] = {
    "text": (np.uint64, 2),
    "layers": (np.int64, 2),
    "windows": (np.int32, 2),
    "tensors": (np.int64, 2),
    "weights": (np.int8, 1),
    "bias": (np.int32, 1),
    "positions": (np.uint8, 1),
    "positions_indptr": (np.int64, 1),
    "credits": (np.int64, 2),
    "debug.layer": (np.int32, 1),
    "debug.tile": (np.int32, 1),
}


_Tensors = dict[str, NDArray[Any]]
_WINDOW_COLUMNS = tuple(name for name, _ in WINDOW_FIELDS)


def _steps_and_slots(tensors: _Tensors, config: Config) -> None:
    """2 -> 3: blocks hold every row and every column, a slot holds the largest tile there is,
    and no groups are packed."""
    steps = {"row_step": 1, "col_step": 1}
    _insert(tensors, "windows", _WINDOW_COLUMNS, steps)
    _insert(tensors, "layers", LAYER_COLUMNS, {"packed": 1, "slot_words": config.tile_words})


def _insert(
    tensors: _Tensors, name: str, columns: tuple[str, ...], values: Mapping[str, int]
) -> None:
    table = tensors.get(name)
    if table is None or table.shape[1:] != (len(columns) - len(values),):
        return  # not of the version that it names, which is found out as with any other file
    for column, value in values.items():  # in the order of the table
        table = np.insert(table, columns.index(column), value, axis=1)
    tensors[name] = table


#: What each version lacks of the next one.
_CHANGES: dict[int, Callable[[_Tensors, Config], None]] = {2: _steps_and_slots}
complete(
    "ISA_VERSION in isa/instructions.py",
    range(2, ISA_VERSION),
    _CHANGES,
    "isa/program_file.py: _CHANGES",
)


#: Versions whose assembly is read.
EARLIER = tuple(_CHANGES)


def in_todays_words(
    tensors: Mapping[str, NDArray[Any]], version: int, config: Config
) -> dict[str, NDArray[Any]]:
    """Tensors of assembly of version `version`."""
    new = dict(tensors)
    for step in range(version, ISA_VERSION):
        _CHANGES[step](new, config)
    return new


def parts(program: Program) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Program -> (tensors, metadata), the content of a program file."""
    tensors = {name: getattr(program, name.replace(".", "_")) for name in _TENSORS}
    meta = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "isa_version": ISA_VERSION,
        "name": program.name,
        "batch": program.batch,
        "config": program.config.model_dump(mode="json"),
        "config_hash": program.config.config_hash,
        "arithmetic": program.config.arithmetic.model_dump(),
        "layer_names": list(program.layer_names),
        "tensor_names": list(program.tensor_names),
        "scales": [s.hex() for s in program.scales],
        "memory_map": {k: list(v) for k, v in program.memory_map.items()},
        "input": program.input,
        "output": program.output,
    }
    if any(program.orders):
        meta["orders"] = program.orders
    if program.pe_map:
        meta |= {"pe_map": plain(program.pe_map), "repaired": program.repaired}
    return tensors, {k: json.dumps(v, sort_keys=True) for k, v in meta.items()}


#: Metadata that decide what a run gives, beside the configuration and all tensors.
_DECISIVE = (
    *("batch", "layer_names", "tensor_names", "memory_map", "input", "output"),
    *("orders", "pe_map", "repaired"),
)


def content_digest(program: Program) -> str:
    """A hash of the integers, tables and names that decide what a run of the program gives.

    Scales do not: they say what integers mean, and may differ in their last bits from one
    processor to the other. The configuration is left to be compared field by field.
    """
    tensors, meta = parts(program)
    digest = hashlib.sha256()
    for name, array in tensors.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    for name in _DECISIVE:
        if name in meta:
            digest.update(f"{name} {meta[name]}".encode())
    return digest.hexdigest()[:16]


def from_parts(
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],
    where: str,
    *,
    by_name: bool = False,
) -> Program:
    """(tensors, metadata) -> validated Program. `where` names the source in error messages.

    by_name : the text was made from names of instructions and fields, so that only tables differ
    where the instruction set is an earlier one.
    """

    def bad(what: str) -> ProgramError:
        return ProgramError(f"{where}: {what}", ADVICE)

    meta = {}
    for key, value in metadata.items():
        try:
            meta[key] = json.loads(value)
        except (ValueError, RecursionError):
            raise bad(f"metadata {key!r} is not JSON") from None
    if meta.get("format") != FORMAT:
        raise bad(f"metadata format is {meta.get('format')!r}, not {FORMAT!r}")
    versions = (ISA_VERSION, *(EARLIER if by_name else ()))
    for key, want in (("format_version", (FORMAT_VERSION,)), ("isa_version", versions)):
        if type(meta.get(key)) is not int or meta[key] not in want:  # nor 3.0, nor true
            known = " and ".join(map(str, want))
            raise bad(f"{key} is {meta.get(key)!r}, this release reads {known}")
    for name, (dtype, ndim) in _TENSORS.items():
        array = tensors.get(name)
        if array is None or array.dtype != dtype or array.ndim != ndim:
            have = "missing" if array is None else f"{array.dtype} with {array.ndim} axes"
            raise bad(f"tensor {name!r} must be {np.dtype(dtype)} with {ndim} axes, is {have}")
    try:
        config = config_from_json(meta["config"], where)
    except (KeyError, TypeError) as error:
        raise bad(f"metadata has no configuration ({type(error).__name__}: {error})") from None
    tensors = in_todays_words(tensors, meta["isa_version"], config)
    for name, columns in (
        ("text", 2),
        ("layers", len(LAYER_COLUMNS)),
        ("windows", len(WINDOW_FIELDS)),
        ("tensors", 4),
        ("credits", len(Engine)),
    ):
        if tensors[name].shape[1] != columns:
            raise bad(f"tensor {name!r} has {tensors[name].shape[1]} columns, needs {columns}")
    try:
        entries = entries_of(meta.get("pe_map"), "metadata pe_map")
        pe_map = check_pe_map(entries, config, "metadata pe_map")
    except ConfigError as error:
        raise bad(str(error).partition("\n")[0]) from None
    try:
        program = Program(
            name=str(meta["name"]),
            config=config,
            batch=int(meta["batch"]),
            layer_names=tuple(map(str, meta["layer_names"])),
            tensor_names=tuple(map(str, meta["tensor_names"])),
            scales=tuple(float.fromhex(s) for s in meta["scales"]),
            memory_map={str(k): (int(a), int(b)) for k, (a, b) in meta["memory_map"].items()},
            input=int(meta["input"]),
            output=int(meta["output"]),
            orders=tuple(tuple(map(int, order)) for order in meta.get("orders", ())),
            pe_map=pe_map,
            repaired=meta.get("repaired") is True,
            **{name.replace(".", "_"): tensors[name] for name in _TENSORS},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise bad(
            f"metadata is incomplete or malformed ({type(error).__name__}: {error})"
        ) from None
    if meta.get("config_hash") != hash_of(meta["config"]):  # as written: fields may be new since
        raise bad("metadata config_hash does not match the configuration")
    validate(program, where)
    return program


def save(program: Program, path: str | os.PathLike[str]) -> None:
    """Write the program to `path`, whole or not at all (a temporary file is renamed)."""
    from safetensors.numpy import save as dump

    tensors, meta = parts(program)
    data = _sort_header(
        dump({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata=meta)
    )
    try:
        write_whole(path, lambda file: file.write_bytes(data))
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        raise ProgramError(f"{path}: cannot be written ({why}); choose another") from None


def _sort_header(data: bytes) -> bytes:
    """Put the keys of a safetensors header in order; the library leaves them in a random one.

    The same program must give the same file, bit for bit.
    """
    size = int.from_bytes(data[:8], "little")
    text = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":"))
    header = text.encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def load(path: str | os.PathLike[str]) -> Program:
    """Read and validate a program file. Raises ProgramError with one clear line."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(reading(path), framework="numpy") as file:
            meta = file.metadata() or {}
            names = set(file.keys()) & set(_TENSORS)
            tensors = {name: file.get_tensor(name) for name in sorted(names)}
    except OSError as error:
        raise ProgramError(
            f"{path}: cannot be read ({first_line(error)}); check the path"
        ) from None
    except (SafetensorError, TypeError, ValueError, KeyError) as error:
        raise ProgramError(
            f"{path}: not a program file ({first_line(error)}); make one with `flexhyca compile`"
        ) from None
    return from_parts(tensors, meta, str(path))

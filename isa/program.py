"""The program file: everything an execution needs, in one safetensors file.

Tensors: `text` u64 (n, 2); `layers` i64 (layers, columns); `windows` i32 (windows, columns);
`tensors` i64 (tensors, 4: h, w, c, DRAM address); `weights` i8, `bias` i32, `positions` u8 with
`positions_indptr` i64; `credits` i64 (4, 4: from, to); `debug.layer`, `debug.tile` i32 (n).
Metadata (JSON strings): versions, names, scales, batch, memory map, arithmetic, configuration.
Every size and offset is validated on load, before anything is executed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Config, config_from_json
from ..errors import ProgramError
from .encoding import Text, decode_text
from .instructions import BY_NAME, ISA_VERSION, WINDOW_FIELDS, Buffer, Engine
from .layers import LAYER_FIELDS, Arithmetic, Layer, LayerOp, Network, Tensor

FORMAT = "flexhyca-program"
FORMAT_VERSION = 1

#: Columns of the `layers` tensor: the layer's own fields, then where its constants lie in DRAM and
#: how its weights are cut into chunks along the reduction ([group][chunk][channel][k] in memory).
LAYER_COLUMNS: tuple[str, ...] = (*LAYER_FIELDS, "weight_addr", "bias_addr", "chunk_ky", "chunk_c")

#: Regions of the DRAM memory map in address order.
REGIONS = ("weights", "bias", "positions", "activations", "text", "descriptors")

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


@dataclass(frozen=True)
class Program:
    """A compiled program. Arrays are read-only by convention; see the module's docstring."""

    name: str
    config: Config
    batch: int
    text: Text
    layers: NDArray[np.int64]
    windows: NDArray[np.int32]
    tensors: NDArray[np.int64]
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    positions: NDArray[np.uint8]
    positions_indptr: NDArray[np.int64]
    credits: NDArray[np.int64]
    debug_layer: NDArray[np.int32]
    debug_tile: NDArray[np.int32]
    layer_names: tuple[str, ...]
    tensor_names: tuple[str, ...]
    scales: tuple[float, ...]
    memory_map: Mapping[str, tuple[int, int]]  #: region -> (base, bytes)
    input: int
    output: int

    @cached_property
    def columns(self) -> dict[str, NDArray[np.int64]]:
        """The decoded text: one int64 column per field name."""
        return decode_text(self.text)

    def column(self, name: str) -> NDArray[np.int64]:
        """A column of the layer table."""
        return self.layers[:, LAYER_COLUMNS.index(name)]

    @cached_property
    def network(self) -> Network:
        """The quantised network that the program computes, rebuilt from its tables and weights."""
        tensors = tuple(
            Tensor(name, int(h), int(w), int(c), scale)
            for name, (h, w, c, _), scale in zip(
                self.tensor_names, self.tensors, self.scales, strict=True
            )
        )
        layers, weights, biases = [], {}, {}
        for i, (name, row) in enumerate(zip(self.layer_names, self.layers, strict=True)):
            values = dict(zip(LAYER_COLUMNS, row.tolist(), strict=True))
            own = {f: values[f] for f in LAYER_FIELDS}
            own["op"] = LayerOp(own["op"])
            layer = Layer(name=name, **own)
            layers.append(layer)
            if layer.op == LayerOp.CONV:
                c_in, c_out = tensors[layer.input].c, tensors[layer.output].c
                weights[i] = self._weights(layer, values, c_in, c_out)
                first = (values["bias_addr"] - self.memory_map["bias"][0]) // 4
                biases[i] = self.bias[first : first + c_out]
        arithmetic = Arithmetic(**self.config.arithmetic.model_dump())
        return Network(
            self.name,
            tensors,
            tuple(layers),
            weights,
            biases,
            arithmetic,
            self.input,
            self.output,
        )

    def _weights(
        self, layer: Layer, values: Mapping[str, int], c_in: int, c_out: int
    ) -> NDArray[np.int8]:
        per_group, channels = c_in // layer.groups, c_out // layer.groups
        at = values["weight_addr"] - self.memory_map["weights"][0]
        out = np.empty((c_out, layer.kernel_h, layer.kernel_w, per_group), np.int8)
        for n in range(0, c_out, channels):
            for ky, nky, c, cc in chunks(
                layer.kernel_h, per_group, values["chunk_ky"], values["chunk_c"]
            ):
                shape = (channels, nky, layer.kernel_w, cc)
                size = int(np.prod(shape))
                part = self.weights[at : at + size].reshape(shape)
                out[n : n + channels, ky : ky + nky, :, c : c + cc] = part
                at += size
        return out


def chunks(
    kernel_h: int, channels: int, step_ky: int, step_c: int
) -> list[tuple[int, int, int, int]]:
    """Cut a reduction into (first kernel row, rows, first channel, channels), in memory order."""
    return [
        (ky, min(step_ky, kernel_h - ky), c, min(step_c, channels - c))
        for ky in range(0, kernel_h, step_ky)
        for c in range(0, channels, step_c)
    ]


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
        "arithmetic": asdict(program.network.arithmetic),
        "layer_names": list(program.layer_names),
        "tensor_names": list(program.tensor_names),
        "scales": [s.hex() for s in program.scales],
        "memory_map": {k: list(v) for k, v in program.memory_map.items()},
        "input": program.input,
        "output": program.output,
    }
    return tensors, {k: json.dumps(v, sort_keys=True) for k, v in meta.items()}


def from_parts(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], where: str
) -> Program:
    """(tensors, metadata) -> validated Program. `where` names the source in error messages."""

    def bad(what: str) -> ProgramError:
        return ProgramError(f"{where}: {what}; recompile the program")

    meta = {}
    for key, value in metadata.items():
        try:
            meta[key] = json.loads(value)
        except (ValueError, RecursionError):
            raise bad(f"metadata {key!r} is not JSON") from None
    if meta.get("format") != FORMAT:
        raise bad(f"metadata format is {meta.get('format')!r}, not {FORMAT!r}")
    for key, want in (("format_version", FORMAT_VERSION), ("isa_version", ISA_VERSION)):
        if meta.get(key) != want:
            raise bad(f"{key} is {meta.get(key)!r}, this release reads {want}")
    for name, (dtype, ndim) in _TENSORS.items():
        array = tensors.get(name)
        if array is None or array.dtype != dtype or array.ndim != ndim:
            have = "missing" if array is None else f"{array.dtype} with {array.ndim} axes"
            raise bad(f"tensor {name!r} must be {np.dtype(dtype)} with {ndim} axes, is {have}")
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
        config = config_from_json(meta["config"], where)
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
            **{name.replace(".", "_"): tensors[name] for name in _TENSORS},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise bad(
            f"metadata is incomplete or malformed ({type(error).__name__}: {error})"
        ) from None
    if meta.get("config_hash") != config.config_hash:
        raise bad("metadata config_hash does not match the configuration")
    validate(program, where)
    return program


def validate(program: Program, where: str) -> None:
    """Check every index, size and offset of `program` (raises ProgramError).

    What passes can be executed without an access outside the tables, the buffers or DRAM.
    """

    def check(ok: bool | np.bool_, what: str) -> None:
        if not ok:
            raise ProgramError(f"{where}: {what}; recompile the program")

    cfg, p = program.config, program
    check(1 <= p.batch <= 65535, f"batch {p.batch} is not in 1..65535")
    check(p.credits.shape[0] == len(Engine), "tensor 'credits' must be 4 x 4")
    check((p.credits >= 0).all() and (p.credits < 2**31).all(), "a semaphore credit is negative")
    check(len(p.layer_names) == len(p.layers) > 0, "layer names and layer table differ in length")
    check(
        len(p.tensor_names) == len(p.scales) == len(p.tensors) > 0,
        "tensor names, scales and tensor table differ in length",
    )
    _validate_memory_map(p, check)
    base, size = p.memory_map["activations"]
    check((p.tensors[:, :3] > 0).all() and (p.tensors[:, :3] < 2**24).all(), "a tensor is empty")
    elements = p.tensors[:, :3].astype(object).prod(axis=1)
    for name, row, count in zip(p.tensor_names, p.tensors, elements, strict=True):
        check(
            base <= row[3] and int(row[3]) + int(count) * p.batch <= base + size,
            f"tensor {name} at {row[3]} lies outside the activations' memory",
        )
    for name, value in (("input", p.input), ("output", p.output)):
        check(0 <= value < len(p.tensors), f"{name} tensor {value} does not exist")
    _validate_layers(p, check)
    check(
        p.positions_indptr.size > 0
        and p.positions_indptr[0] == 0
        and p.positions_indptr[-1] == p.positions.size
        and (np.diff(p.positions_indptr) >= 0).all(),
        "tensor 'positions_indptr' does not partition 'positions'",
    )
    check(len(p.debug_layer) == len(p.debug_tile) == len(p.text), "debug tensors differ in length")
    check(
        (p.debug_layer >= 0).all() and (p.debug_layer < len(p.layers)).all(),
        "'debug.layer' names a layer that does not exist",
    )
    _validate_text(p, cfg, where)


def _validate_memory_map(p: Program, check: Any) -> None:
    check(tuple(p.memory_map) == REGIONS or set(p.memory_map) == set(REGIONS), "memory map")
    end = 0
    for name in REGIONS:
        base, size = p.memory_map[name]
        check(base >= end and size >= 0, f"memory region {name} at {base} overlaps another one")
        end = base + size
    limit = p.config.dram.size_bytes
    check(end <= limit, f"memory map ends at {end}, DRAM has {limit} bytes")
    for name, nbytes in (
        ("text", p.text.nbytes),
        ("weights", p.weights.nbytes),
        ("bias", p.bias.nbytes),
        ("positions", p.positions.nbytes),
    ):
        check(
            p.memory_map[name][1] == nbytes,
            f"memory region {name} has {p.memory_map[name][1]} bytes, its tensor {nbytes}",
        )


def _validate_layers(p: Program, check: Any) -> None:
    arithmetic = p.config.arithmetic
    spare = arithmetic.acc_bits - arithmetic.act_bits
    wbase, wsize = p.memory_map["weights"]
    bbase, bsize = p.memory_map["bias"]
    for name, row in zip(p.layer_names, p.layers, strict=True):
        v = dict(zip(LAYER_COLUMNS, (int(x) for x in row), strict=True))
        where = f"layer {name}"
        check(v["op"] in LayerOp._value2member_map_, f"{where}: op {v['op']} is unknown")
        ids = [v["input"], v["output"]] + ([v["residual"]] if v["residual"] != -1 else [])
        check(all(0 <= i < len(p.tensors) for i in ids), f"{where}: a tensor does not exist")
        check(
            v["op"] != LayerOp.ADD or v["residual"] >= 0, f"{where}: an ADD needs a second operand"
        )
        for key in ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w"):
            check(1 <= v[key] <= 4096, f"{where}: {key}={v[key]} is not in 1..4096")
        for key in ("pad_top", "pad_left"):
            check(abs(v[key]) <= 65535, f"{where}: {key}={v[key]} is not in -65535..65535")
        check(abs(v["c_offset"]) < 2**24, f"{where}: c_offset={v['c_offset']} is out of range")
        for key in ("lshift_a", "lshift_b", "add_shift"):
            check(0 <= v[key] <= 16, f"{where}: {key}={v[key]} is not in 0..16")
        check(0 <= v["shift"] <= spare, f"{where}: shift={v['shift']} is not in 0..{spare}")
        check(-128 <= v["act_lo"] <= v["act_hi"] <= 127, f"{where}: clamp limits are wrong")
        (_, _, cin, _), (oh, ow, cout, _) = p.tensors[v["input"]], p.tensors[v["output"]]
        if v["residual"] >= 0:
            check(
                tuple(p.tensors[v["residual"]][:3]) == (oh, ow, cout),
                f"{where}: the residual's shape is not the output's",
            )
        if v["op"] in (LayerOp.MAXPOOL, LayerOp.AVGPOOL, LayerOp.ADD):
            check(cin == cout, f"{where}: {cin} input channels, {cout} output channels")
        if v["op"] == LayerOp.ADD:
            check(
                (p.tensors[v["input"]][:3] == p.tensors[v["output"]][:3]).all(), f"{where}: shape"
            )
        if v["op"] != LayerOp.CONV:
            continue
        check(
            v["groups"] >= 1 and cin % v["groups"] == 0 and cout % v["groups"] == 0,
            f"{where}: {v['groups']} groups do not divide {cin} and {cout} channels",
        )
        check(
            1 <= v["chunk_ky"] <= v["kernel_h"] and 1 <= v["chunk_c"] <= cin // v["groups"],
            f"{where}: chunk sizes are out of range",
        )
        size = int(cout) * v["kernel_h"] * v["kernel_w"] * (int(cin) // v["groups"])
        check(
            wbase <= v["weight_addr"] and v["weight_addr"] + size <= wbase + wsize,
            f"{where}: its weights lie outside the weights' memory",
        )
        at = v["bias_addr"] - bbase
        check(at >= 0 and at % 4 == 0 and at + 4 * int(cout) <= bsize, f"{where}: bias address")


def _validate_text(p: Program, cfg: Config, where: str) -> None:
    try:
        c = p.columns
    except ProgramError as error:
        raise ProgramError(f"{where}: {error}") from None

    def check(bad: NDArray[np.bool_], what: str) -> None:
        at = np.flatnonzero(bad)
        if at.size:
            raise ProgramError(f"{where}: instruction {at[0]}: {what}; recompile the program")

    op = c["op"]
    dram_end = sum(p.memory_map["activations"])
    sizes = np.zeros(len(Buffer), np.int64)
    sizes[Buffer.IFMAP] = cfg.buffers.ifmap_bytes
    sizes[Buffer.WEIGHT] = cfg.buffers.weight_bytes
    sizes[Buffer.POSITION] = cfg.buffers.position_bytes
    sizes[Buffer.OUTPUT] = cfg.residual_slots_bytes
    load = op == BY_NAME["LOAD"].opcode
    check(
        load & (c["buf_addr"] + c["row_bytes"] * c["count"] > sizes[c["buffer"]]),
        "LOAD ends outside its buffer",
    )
    last = c["dram_addr"] + c["stride"] * np.maximum(c["count"] - 1, 0) + c["row_bytes"]
    check(load & (last > dram_end), "LOAD reads outside the program's memory")
    check(load & ((c["count"] == 0) | (c["row_bytes"] == 0)), "LOAD of no bytes")
    tile = np.isin(op, [BY_NAME[n].opcode for n in ("GEMM", "DPPU", "VEC", "STORE")])
    check(tile & ((c["m"] == 0) | (c["n"] == 0)), "empty tile")
    check(
        tile & (c["m"] * c["n"] > cfg.tile_words),
        "the tile has more words than a slot",
    )
    check(tile & (c["slot"] >= cfg.output_slots), f"slot does not exist ({cfg.output_slots} slots)")
    gemm = op == BY_NAME["GEMM"].opcode
    check(
        gemm & ((c["m"] > cfg.tile_rows) | (c["n"] > cfg.tile_cols)), "the tile exceeds the array"
    )
    folded = cfg.array.dataflow != "os"
    check(
        gemm & ((c["k"] > cfg.array.rows) | ((c["k"] > 0) != folded)),
        f"a GEMM of {c['k'][gemm].max(initial=0)} operands a fold does not suit dataflow "
        f"{cfg.array.dataflow} with {cfg.array.rows} rows",
    )
    check(
        (op == BY_NAME["VEC"].opcode) & (c["res_slot"] >= cfg.output_slots),
        "residual slot does not exist",
    )
    dppu = op == BY_NAME["DPPU"].opcode
    check(dppu & (c["count"] > c["m"] * c["n"]), "position table is larger than its tile")
    nbytes = np.where(
        c["format"] == 1,
        (c["m"] * c["n"] + 7) // 8,
        (c["count"] * cfg.position_bits + 7) // 8,
    )
    check(dppu & (c["pos_addr"] + nbytes > sizes[Buffer.POSITION]), "table ends outside its buffer")
    setcfg = op == BY_NAME["SETCFG"].opcode
    rows = np.where(c["table"] == 0, len(p.layers), len(p.windows))
    check(setcfg & (c["index"] >= rows), "SETCFG of a descriptor that does not exist")
    # A tile belongs to the layer that its debug entry names; SETCFG must agree with it.
    layer = p.debug_layer
    out = p.tensors[p.column("output")[layer]]
    check(tile & (c["m0"] + c["m"] > p.batch * out[:, 0] * out[:, 1]), "tile beyond the last pixel")
    check(tile & (c["n0"] + c["n"] > out[:, 2]), "tile beyond the last channel")


def save(program: Program, path: str | os.PathLike[str]) -> None:
    """Write the program to `path`, whole or not at all (a temporary file is renamed)."""
    from safetensors.numpy import save as dump

    tensors, meta = parts(program)
    target = Path(path)
    data = _sort_header(
        dump({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata=meta)
    )
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name + ".")
    except OSError as error:
        raise ProgramError(
            f"{path}: cannot be written ({error.strerror}); choose another"
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink()
        raise


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
        with safe_open(path, framework="numpy") as file:
            meta = file.metadata() or {}
            names = set(file.keys()) & set(_TENSORS)
            tensors = {name: file.get_tensor(name) for name in sorted(names)}
    except OSError as error:
        raise ProgramError(f"{path}: cannot be read ({error}); check the path") from None
    except (SafetensorError, TypeError, ValueError, KeyError) as error:
        raise ProgramError(
            f"{path}: not a program file ({error}); make one with `flexhyca compile`"
        ) from None
    return from_parts(tensors, meta, str(path))

"""Damaged and wild programs: through `load` and, where they pass, through every execution."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import Arithmetic, choices, config_from_json
from flexhyca.errors import FlexhycaError, ProgramError
from flexhyca.isa import program_file as files
from flexhyca.isa.encoding import decode
from flexhyca.isa.instructions import BY_NAME
from flexhyca.isa.program import Program
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.simulator.run import simulate
from flexhyca.tests.fuzz.damage import VALUES, WILD, damaged, one_line
from flexhyca.tests.support import OVERLAP, REDUNDANT, STATIONARY, random_masks, small_config

_TABLES = ("layers", "windows", "tensors", "credits", "positions_indptr", "debug.layer")
_LONGEST = 60  # seconds that a case of a few kilobytes may take on a busy computer
_MOST_INPUTS = 1 << 20


def _network() -> Network:
    """Every kind of layer: convolutions with groups, dilation and a residual, pools, copy, add."""
    rng = np.random.default_rng(0)
    shapes = [(9, 7, 6), (9, 7, 8), (9, 7, 8), (9, 7, 8), (4, 3, 8), (4, 3, 8), (4, 3, 8)]
    shapes += [(4, 3, 8), (1, 1, 8), (1, 1, 5)]
    tensors = tuple(Tensor(f"t{i}", *shape, 0.5) for i, shape in enumerate(shapes))
    layers = (
        Layer("a", LayerOp.CONV, 0, 1, kernel_h=3, kernel_w=3, pad_top=1, pad_left=1, shift=3),
        Layer("depthwise", LayerOp.CONV, 1, 2, kernel_h=3, kernel_w=3, pad_top=2, pad_left=2,
              dilation_h=2, dilation_w=2, groups=8, shift=3),
        Layer("residual", LayerOp.CONV, 2, 3, residual=1, shift=3, add_shift=1, act_lo=0),
        Layer("max", LayerOp.MAXPOOL, 3, 4, kernel_h=2, kernel_w=2, stride_h=2, stride_w=2),
        Layer("copy", LayerOp.COPY, 4, 5, pad_top=1, c_offset=1),
        Layer("add", LayerOp.ADD, 4, 6, residual=5, lshift_a=1),
        Layer("groups", LayerOp.CONV, 6, 7, kernel_h=3, kernel_w=3, pad_top=1, pad_left=1,
              groups=2, shift=3),
        Layer("mean", LayerOp.AVGPOOL, 7, 8, kernel_h=4, kernel_w=3, shift=4),
        Layer("fc", LayerOp.CONV, 8, 9, shift=3),
    )  # fmt: skip
    weights, biases = {}, {}
    for i, layer in enumerate(layers):
        if layer.op == LayerOp.CONV:
            c_in, c_out = tensors[layer.input].c // layer.groups, tensors[layer.output].c
            shape = (c_out, layer.kernel_h, layer.kernel_w, c_in)
            weights[i] = rng.integers(-128, 128, shape).astype(np.int8)
            biases[i] = rng.integers(-999, 999, c_out).astype(np.int32)
    return Network("every", tensors, layers, weights, biases, Arithmetic(), 0, len(tensors) - 1)


@cache
def programs() -> tuple[Program, ...]:
    """One program for each way of recomputing, and for each kind of array."""
    network = _network()
    none = ["dppu.size=0", "protection.s_th=0", "protection.q_scale=0"]
    machines = [
        *([f"dppu.data_reuse={mode}"] for mode in choices("dppu.data_reuse")),
        *(
            [f"dram.model={model}", "dram.row_bytes=64", "buffers.ifmap_bytes=256"]
            for model in choices("dram.model")
        ),
        *([*none, f"array.dataflow={flow}"] for flow in STATIONARY),
        *(
            [*none, f"array.dataflow={flow}", f"array.{field}=true", "buffers.weight_bytes=128"]
            for flow, field in OVERLAP.items()
        ),
        *(
            [*none, f"protection.redundancy={kind}", "protection.redundant_layers=['*']"]
            for kind in REDUNDANT
        ),
    ]
    out = []
    for overrides in machines:
        config = small_config(*overrides)
        masks = random_masks(network, 0.3, 1) if config.dppu.size else {}
        out.append(compile_network(network, config, masks, 1 + len(out) % 2))
    return tuple(out)


def content(tensors: dict[str, Any], metadata: dict[str, str]) -> bytes:
    """A program file."""
    return save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata=metadata)


def _put(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    """One element of `array` is wild, or its neighbour's, or a little larger or smaller."""
    if not array.size:
        return array
    array = array.copy()
    at = draw(st.integers(0, array.size - 1))
    old = int(array.flat[at])
    value = draw(st.sampled_from([*WILD, old + 1, old - 1, 2 * old, int(array.flat[at - 1])]))
    low, high = np.iinfo(array.dtype).min, np.iinfo(array.dtype).max
    array.flat[at] = min(max(value, low), high)
    return array


def _put_field(draw: st.DrawFn, text: np.ndarray) -> np.ndarray:
    """One field of one instruction has another value that fits it."""
    text = text.copy()
    pc = draw(st.integers(0, len(text) - 1))
    try:
        name, values = decode(*text[pc].tolist())
    except ProgramError:  # an earlier change made nonsense of it
        return text
    layout = BY_NAME[name].layout()
    key = draw(st.sampled_from([k for k in layout if k != "op"] or ["op"]))
    bit, f = layout[key]
    near = [values.get(key, 0) + 1, max(0, values.get(key, 0) - 1)]
    value = draw(st.sampled_from([0, 1, 2, 3, 5, f.limit, f.limit // 2, *near])) & f.limit
    word = int(text[pc, 0]) | int(text[pc, 1]) << 64
    word = word & ~(f.limit << bit) | value << bit
    text[pc] = word & (2**64 - 1), word >> 64
    return text


def _move(draw: st.DrawFn, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
    """An instruction is missing, doubled, or stands elsewhere; all tables fit each other."""
    size = len(tensors["text"])
    order = list(range(size))
    pc, to = draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))
    match draw(st.sampled_from(["missing", "doubled", "elsewhere"])):
        case "missing":
            order.pop(pc)
        case "doubled":
            order.insert(to, pc)
        case "elsewhere":
            order.insert(to, order.pop(pc))
    for name in ("text", "debug.layer", "debug.tile"):
        tensors[name] = tensors[name][order]
    regions = meta["memory_map"]
    end = regions["text"][0] + 16 * len(order)
    regions["text"][1] = 16 * len(order)
    regions["descriptors"][0] = max(regions["descriptors"][0], end)


def _put_meta(draw: st.DrawFn, value: Any) -> Any:
    """One leaf of a JSON value is something else."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _put_meta(draw, value[key])}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _put_meta(draw, value[at]), *value[at + 1 :]]
    return draw(VALUES)


def _reconfigure(draw: st.DrawFn, meta: dict[str, Any]) -> None:
    """Another machine, with the hash that belongs to it."""
    config = meta["config"]
    section = draw(st.sampled_from(sorted(k for k, v in config.items() if isinstance(v, dict))))
    key = draw(st.sampled_from(sorted(config[section])))
    old = config[section][key]
    small = st.sampled_from([0, 1, 2, 4, 16, 64, 256, 1024, 4096, 65536, 2**20, 2**22])
    config[section][key] = draw(small if isinstance(old, int) else VALUES)
    with suppress(FlexhycaError):
        meta["config_hash"] = config_from_json(config, "x").config_hash


@st.composite
def wild_files(draw: st.DrawFn) -> bytes:
    """A container that is right, with content that is not."""
    source = draw(st.sampled_from(programs()))
    arrays, strings = files.parts(source)
    tensors, meta = dict(arrays), {k: json.loads(v) for k, v in strings.items()}
    for _ in range(draw(st.integers(1, 3))):
        match draw(st.sampled_from(["field", "field", "table", "table", "move", "meta", "machine",
                                    "positions", "shape"])):  # fmt: skip
            case "field":
                tensors["text"] = _put_field(draw, tensors["text"])
            case "table":
                name = draw(st.sampled_from(_TABLES))
                tensors[name] = _put(draw, tensors[name])
            case "positions":
                tensors["positions"] = _put(draw, tensors["positions"])
            case "move":
                if len(tensors["text"]) > 1:
                    _move(draw, tensors, meta)
            case "machine":
                if isinstance(meta["config"], dict):
                    _reconfigure(draw, meta)
            case "meta":
                key = draw(st.sampled_from(sorted(meta)))
                meta[key] = _put_meta(draw, meta[key])
                return content(tensors, {k: json.dumps(v) for k, v in meta.items()})
            case "shape":
                name = draw(st.sampled_from(sorted(tensors)))
                tensors[name] = draw(
                    st.sampled_from(
                        [tensors[name].reshape(-1), tensors[name][:0], tensors[name][..., None]]
                        + [tensors[name].astype(t) for t in (np.int16, np.float32, np.bool_)]
                    )
                )
                return content(tensors, {k: json.dumps(v) for k, v in meta.items()})
    return content(tensors, {k: json.dumps(v) for k, v in meta.items()})


@st.composite
def wild_headers(draw: st.DrawFn) -> bytes:
    """A container whose own header is wrong: offsets, types and shapes."""
    tensors, strings = files.parts(draw(st.sampled_from(programs())))
    data = content(tensors, strings)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = draw(st.sampled_from(sorted(header)))
    header[name] = _put_meta(draw, header[name])
    text = json.dumps(header).encode()
    length = draw(st.sampled_from([len(text), len(text), *WILD]))
    return (length % 2**64).to_bytes(8, "little") + text + data[8 + size :]


@st.composite
def broken_files(draw: st.DrawFn) -> bytes:
    """A program file with damaged bytes."""
    tensors, strings = files.parts(draw(st.sampled_from(programs())))
    return draw(damaged(content(tensors, strings)))


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Fail where the body takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(run: Callable[[], Any]) -> Any:
    """What a run gives, or the kind of the error."""
    try:
        return run()
    except FlexhycaError as error:
        one_line(error)
        return type(error)


def execute(program: Program) -> str:
    """Run `program` in every way; both cycle models must agree. What came out."""
    compiled, simpy = (
        outcome(lambda kind=kind: simulate(program, values="none", cycle_model=kind).cycles)
        for kind in ("compiled", "simpy")
    )
    assert compiled == simpy
    shape = (program.batch, *program.tensors[program.input, :3].tolist())
    if np.prod(shape, dtype=object) <= _MOST_INPUTS:
        images = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
        for values in ("machine", "fast"):
            outcome(lambda values=values: simulate(program, images, values=values).cycles)
    return "ran" if isinstance(compiled, int) else compiled.__name__


def attack(path: Path, examples: int) -> dict[str, int]:
    """Try `examples` files; how often each outcome came. One that fails is left at `path`."""
    seen: dict[str, int] = {}

    kinds = st.one_of(wild_files(), wild_files(), wild_files(), wild_headers(), broken_files())

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(kinds.map(path.write_bytes))
    def run(size: int) -> None:
        with limited(_LONGEST):
            try:
                program = files.load(path)
            except FlexhycaError as error:
                for line in str(error).splitlines():
                    one_line(ValueError(line))
                what = "refused"
            else:
                what = execute(program)
        seen[what] = seen.get(what, 0) + 1

    run()
    return seen

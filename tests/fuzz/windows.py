"""Windows of every geometry that the ONNX frontend takes: from the file to equal executions.

    python -m flexhyca.tests.fuzz.windows 100000 0

A case is a file with one or two operators that have windows.  It is refused in one line by the
frontend, the quantiser or the compiler, or else everything behind holds: what is compiled loads,
its listing assembles to the same bytes, and `fast` equals `machine`.  Where onnxruntime takes the
file, too, the float graph must equal it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.data import normalise
from flexhyca.compiler.execute import logits
from flexhyca.compiler.model import load_model
from flexhyca.compiler.quantise.quantiser import quantise_model
from flexhyca.errors import CompileError, ModelError
from flexhyca.isa.assembly import assemble, disassemble
from flexhyca.isa.program_file import load, save
from flexhyca.simulator.run import simulate
from flexhyca.tests.compiler.frontends.onnx_models import make, write
from flexhyca.tests.fuzz.attacks import Attack, outcomes, print_outcomes
from flexhyca.tests.fuzz.damage import one_line
from flexhyca.tests.support import OVERLAP, STATIONARY, random_inputs, random_masks, small_config

#: Numbers that a geometry is drawn from: near, beyond the map, at the limits of the table.
_NEAR, _FAR, _LIMITS = (1, 1, 2, 2, 3, 4), (5, 7, 8, 9, 16, 40), (255, 4095, 4096, 4097, 65535)
_ORT_REFUSES = (RuntimeError,)


def _number(rng: np.random.Generator, far: float, least: int = 1) -> int:
    if rng.random() >= far:
        return int(rng.choice(_NEAR)) - 1 + least
    return int(rng.choice(_FAR if rng.random() < 0.97 else _LIMITS))


def _window(
    rng: np.random.Generator, size: list[int], kernel: list[int], far: float, dilated: bool
) -> dict[str, Any]:
    """Attributes of windows that, most times, fit a map of this size; which becomes theirs."""
    fields: dict[str, Any] = {"kernel_shape": kernel, "ceil_mode": int(rng.random() < 0.3)}
    strides = fields["strides"] = [_number(rng, far) for _ in range(2)]
    if rng.random() < 0.1:
        fields["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        return fields
    dilations = fields["dilations"] = [_number(rng, far) if dilated else 1 for _ in range(2)]
    pads = fields["pads"] = [_number(rng, far, 0) for _ in range(4)]
    if rng.random() < 0.4:
        pads[2:] = pads[:2]
    for axis in range(2):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        lacks = span - size[axis] - pads[axis] - pads[axis + 2]
        if lacks > 0 and rng.random() < 0.97:
            pads[axis + (2 if rng.random() < 0.5 else 0)] += lacks
        room = size[axis] + pads[axis] + pads[axis + 2] - span
        size[axis] = max(1, room // strides[axis] + 1)
    return fields


def network(rng: np.random.Generator) -> Any:
    """An ONNX model of one or two windowed operators, sometimes behind a Pad or a Slice."""
    far = float(rng.choice([0.0, 0.15, 0.4]))
    channels, height, width = (int(rng.integers(1, n)) for n in (7, 10, 10))
    shape, nodes, weights, value = (1, channels, height, width), [], {}, "x"
    size = [height, width]
    opset = int(rng.integers(13, 23))
    if rng.random() < 0.2:
        pads = [0, 0, *(_number(rng, far, 0) for _ in range(2))] * 2
        weights["amounts"] = np.array(pads, np.int64)
        nodes.append(helper.make_node("Pad", [value, "amounts"], ["padded"]))
        value, size = "padded", [height + 2 * pads[2], width + 2 * pads[3]]
    for i in range(int(rng.integers(1, 3))):
        kernel, out = [_number(rng, far / 2) for _ in range(2)], f"v{i}"
        kernel = kernel if np.prod(kernel) <= 1 << 13 else [kernel[0], 1]
        kind = rng.choice(["Conv", "Conv", "MaxPool", "AveragePool"])
        fields = _window(rng, size, kernel, far, dilated=kind != "AveragePool")
        if kind == "AveragePool":
            fields.pop("dilations", None)
            fields["count_include_pad"] = int(rng.random() < 0.7)
        names = [value]
        if kind == "Conv":
            groups = int(rng.choice([g for g in (1, 2, channels) if channels % g == 0]))
            more = groups * int(rng.integers(1, 4))
            held = (more, channels // groups, *kernel)
            weights[f"w{i}"] = rng.standard_normal(held).astype(np.float32)
            weights[f"b{i}"] = rng.standard_normal(more).astype(np.float32)
            names += [f"w{i}", f"b{i}"]
            fields["group"], channels = groups, more
            del fields["ceil_mode"]
        nodes.append(helper.make_node(str(kind), names, [out], **fields))
        value = out
        if rng.random() < 0.3:
            nodes.append(helper.make_node("Relu", [value], [f"r{i}"]))
            value = f"r{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["y"]))
    return make(nodes, weights, shape, opset=opset)


def _config(rng: np.random.Generator) -> Any:
    machine = [
        f"arithmetic.overflow={rng.choice(['slice', 'saturate'])}",
        f"buffers.ifmap_bytes={rng.choice([512, 2048, 16384])}",
        f"buffers.weight_bytes={rng.choice([512, 4096])}",
        "protection.q_scale=0",
    ]
    if rng.random() < 0.5:
        machine += ["dppu.size=0", "protection.s_th=0"]
        if rng.random() < 0.5:
            flow, overlaps = rng.choice(STATIONARY), rng.choice(["false", "true"])
            machine += [f"array.dataflow={flow}", f"array.{OVERLAP[flow]}={overlaps}"]
    return small_config(*machine)


def equals_onnxruntime(model: Any, images: np.ndarray, got: np.ndarray, window: int) -> bool:
    """Whether onnxruntime takes `model`; AssertionError where it computes something else.

    window : elements of the largest one; float32 adds them one after the other.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        runs = [session.run(None, {"x": image[None]})[0] for image in images]
    except Exception:  # a pybind error of one of a dozen types
        return False
    wanted = np.concatenate(runs)
    near = max(1e-4, window * 2.0**-24)
    largest = max(1e-6, float(np.abs(wanted).max()))
    np.testing.assert_allclose(got, wanted, rtol=near, atol=near * largest)
    return True


def attempt(seed: int, folder: Path) -> str:
    """Try one case; what became of it."""
    rng = np.random.default_rng(seed)
    source = network(rng)
    path = write(folder, source)
    config = _config(rng)
    try:
        model = load_model(path)
    except ModelError as error:
        one_line(error)
        return "refused by the frontend"
    c, h, w = model.input_shape
    images = rng.integers(0, 256, (2, h, w, c)).astype(np.uint8)
    floats = normalise(images, model.mean, model.std)
    window = max(node.kernel[0] * node.kernel[1] for node in model.graph.nodes)
    compared = equals_onnxruntime(source, floats, logits(model.graph, [floats]).numpy(), window)
    quantised = quantise_model(
        model, images, arithmetic=config.arithmetic, q_scale=config.protection.q_scale
    )
    masks = random_masks(quantised, 0.3, seed) if config.dppu.size else None
    try:
        program = compile_network(quantised, config, masks, int(rng.integers(1, 3)))
    except CompileError as error:
        one_line(error)
        return "refused by the compiler"
    file = folder / "net.fhx"
    save(program, file)
    loaded = load(file)
    save(assemble(disassemble(loaded)), folder / "again.fhx")
    assert file.read_bytes() == (folder / "again.fhx").read_bytes()
    inputs = random_inputs(loaded.network, loaded.batch, seed)
    fast, machine = (simulate(loaded, inputs, values=v).outputs for v in ("fast", "machine"))
    np.testing.assert_array_equal(fast, machine)
    return "equal to onnxruntime" if compared else "compiled"


def attack(count: int, first: int, *, go_on: bool = False) -> Counter[str]:
    """Try `count` cases from seed `first`; how often each outcome came."""
    with tempfile.TemporaryDirectory() as folder:

        def here(seed: int) -> str:
            return attempt(seed, Path(folder))

        return outcomes(here, range(first, first + count), go_on)


def many(folder: Path, cases: int) -> int:
    seen = attack(cases, 1000)
    assert seen["equal to onnxruntime"] > cases // 10
    return cases


ATTACKS = (Attack("convolutions and pools of any geometry (ONNX)", many, 0, 3_000),)


if __name__ == "__main__":
    print_outcomes(attack)

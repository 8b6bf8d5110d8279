"""Small files that others wrote and that were once refused or misread: what each is worth.

The files lie in tests/cases. Values are onnxruntime's in float32, where every input number is 0.5;
cycles are SCALE-Sim's (3.0.0, os, 32x32), which runs a DP row as one layer a channel, each with all
the row's filters (load_arrays_conv of its topologies).
"""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from flexhyca import compile, load_config, load_data, load_model, simulate
from flexhyca.api import build, calibration_data, quantise, quantise_images
from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.data import normalise
from flexhyca.compiler.execute import run_graph
from flexhyca.compiler.frontends.topology import network_of, read_topology
from flexhyca.errors import CompileError, ProgramError
from flexhyca.isa.assembly import assemble, disassemble
from flexhyca.isa.program_file import load, save

FOLDER = Path(__file__).parents[1] / "cases"
PLAIN = load_config("flexhyca-32x32", ["protection.s_th=0"])

#: File -> shape of the output, its first numbers.
VALUES = {
    "add_dead_relus": ((4,), (0, 0, 0)),
    "pad_only_window": ((4,), (0, 0, 0)),
    "maxpool_ceil_opset11": ((3, 2, 4), (0.5, 0.5, 0.5)),
    "unsqueeze_const_opset9": ((10,), (-10.17421, 4.85610, -0.38249)),
    "constantofshape_weight_opset9": ((64, 1, 1), (0.135, 0.135, 0.135)),
    "mlp_2d_input": ((10,), (-7.70964, 3.98958, 1.08931)),
    "mul_channel_const": ((10,), (3.27210, -0.12139, 0.14003)),
    "softmax_end": ((10,), (0.53442, 0.65053, 0.31623)),  # logits
    "squeeze_twice_opset11": ((10,), (0.53442, 0.65053, 0.31623)),
    "fcn_map_output": ((4, 6, 6), (0, 0, 0)),
}


@pytest.mark.parametrize("name", VALUES)
def test_networks(name: str) -> None:
    shape, first = VALUES[name]
    path = FOLDER / f"{name}.onnx"
    model = load_model(path)
    assert model.output_shape == shape
    image = torch.full((1, *model.input_shape), 0.5)
    found = run_graph(model.graph, image)[0].numpy().reshape(-1)
    np.testing.assert_allclose(found[:3], first, atol=2e-5)
    session = onnxruntime.InferenceSession(path.read_bytes())
    (source,) = session.get_inputs()
    size = [n if isinstance(n, int) else 1 for n in source.shape]
    theirs = session.run(None, {source.name: np.full(size, 0.5, np.float32)})[0].reshape(-1)
    if name == "softmax_end":
        powers = np.exp(found - found.max())
        found = powers / powers.sum()
    np.testing.assert_allclose(found, theirs, atol=2e-5)


@pytest.mark.parametrize("name", VALUES)
def test_networks_run_in_integers(name: str, tmp_path: Path) -> None:
    """Quantised, compiled, saved, loaded, and near the float network on what calibrates it."""
    model = load_model(FOLDER / f"{name}.onnx")
    count = {"add_dead_relus": 8, "pad_only_window": 1}.get(name)
    data = load_data(model, FOLDER / f"img{count}.npz") if count else calibration_data(model)
    network = quantise(model, PLAIN, data)
    program = compile(network, PLAIN)
    save(program, tmp_path / "p.fhx")
    loaded = load(tmp_path / "p.fhx")
    assert disassemble(assemble(disassemble(loaded))) == disassemble(program)
    images = quantise_images(model, network, data.images[:1])
    outputs = [simulate(loaded, images, values=values).outputs for values in ("fast", "machine")]
    assert np.array_equal(*outputs)
    real = outputs[0].transpose(0, 3, 1, 2).reshape(-1) * network.tensors[network.output].scale
    floats = torch.from_numpy(normalise(data.images, model.mean, model.std))
    wanted = run_graph(model.graph, floats)[0].numpy()
    np.testing.assert_allclose(real, wanted[0].reshape(-1), atol=0.06 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("name", "cycles"), [("dp.csv", 564), ("gemm.csv", 195), ("base.csv", 195)]
)
def test_topologies_count_as_scale_sim_does(name: str, cycles: int) -> None:
    config = load_config("base-32x32", ["timing=scalesim"])
    assert simulate(build(str(FOLDER / name), config).program, values="none").cycles == cycles


@pytest.mark.parametrize(("filters", "cycles"), [(2, 4 * 141), (40, 4 * (2 * 2 * 71 - 1))])
def test_every_channel_of_a_dp_row_has_all_filters(tmp_path: Path, filters: int, cycles: int):
    path = tmp_path / "dp.csv"
    path.write_text((FOLDER / "dp.csv").read_text().replace("4, 1, 1,", f"4, {filters}, 1,"))
    config = load_config("base-32x32", ["timing=scalesim"])
    (row,) = read_topology(path)
    assert (row.channels, row.groups, row.out_channels) == (4, 4, 4 * filters)
    network = network_of((row,), "dp", config.arithmetic)
    assert network.macs(0) == 4 * filters * 36 * 9
    assert simulate(compile(network, config), values="none").cycles == cycles


def test_a_product_of_8192() -> None:
    program = build(str(FOLDER / "gemm_k8192.csv"), PLAIN).program
    assert simulate(program, values="none").macs == (4096 + 8192) * 64


def test_without_important_neurons_no_table_must_fit() -> None:
    """Where neurons are made important all the same, the program says which table is too large."""
    config = load_config(
        "flexhyca-32x32",
        [
            "array.rows=256",
            "array.cols=256",
            "protection.s_th=0",
            "buffers.output_bytes=1048576",
        ],
    )
    program = build(str(FOLDER / "base.csv"), config).program
    assert simulate(program, values="none").cycles > 0
    network, shape = program.network, (6, 6, 16)
    all_important = {0: np.ones(shape, bool)}
    tight = load_config("flexhyca-32x32", ["protection.s_th=0", "buffers.position_bytes=16"])
    with pytest.raises(CompileError):
        compile_network(network, tight, all_important)


def test_assembly() -> None:
    program = assemble((FOLDER / "u_bom.fhs").read_text(), "u_bom.fhs")
    assert len(program.network.layers) == 2
    with pytest.raises(ProgramError, match="line 2: 80 axes, at most 4 are"):
        assemble((FOLDER / "asm_80_axes.fhs").read_text(), "asm_80_axes.fhs")

"""What every activation of the table must do: one meaning in torch, ONNX, float and integers.

A new row is tested by naming it in `PARAMETERS`; the import fails until that is done.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flexhyca.compiler.activations import ACTIVATIONS, Activation
from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.execute import run_graph
from flexhyca.compiler.frontends.frontend_onnx import from_onnx
from flexhyca.compiler.frontends.frontend_torch import from_torch
from flexhyca.compiler.graph import Node
from flexhyca.compiler.model import Model, from_module
from flexhyca.compiler.quantise.lower import lower
from flexhyca.compiler.quantise.quantiser import quantise_model
from flexhyca.config import load_config
from flexhyca.isa.program_file import load, save
from flexhyca.network import reference
from flexhyca.network.layers import Network
from flexhyca.simulator.run import simulate
from flexhyca.tables import complete
from flexhyca.tests.compiler.frontends.onnx_models import export

#: Values of the parameters, in order, that the suite gives an operator which takes some.
PARAMETERS: dict[str, tuple[float, ...]] = {"relu": (), "clip": (-0.75, 2.5)}
complete(
    "ACTIVATIONS in compiler/activations.py", ACTIVATIONS, PARAMETERS, f"{__name__}.PARAMETERS"
)

OPERATORS = [(row, operator) for row in ACTIVATIONS.values() for operator in row.torch]
IDS = [operator for _, operator in OPERATORS]
SHAPE = (24, 1, 1)
#: Pixels 0..255 become -8..8, where every limit of an activation lies.
MEAN, STD = (0.5,) * 24, (1 / 16,) * 24
CONFIG = load_config("flexhyca-32x32")
STEP = 1.001  # in steps of an output's scale: what rounding may change, and float32 noise


class Activated(nn.Module):
    """An aten operator on its own, or behind a convolution, then a vector."""

    def __init__(self, operator: str, given: tuple[float, ...], *, alone: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Identity() if alone else nn.Conv2d(24, 16, 1)
        name, _, overload = operator.partition(".")
        self.operator = getattr(getattr(torch.ops.aten, name), overload)
        self.given = given[: len(self.operator._schema.arguments) - 1]

    def forward(self, x: Tensor) -> Tensor:
        return self.operator(self.conv(x), *self.given).flatten(1)


def module(row: Activation, operator: str, *, alone: bool = False) -> nn.Module:
    return Activated(operator, PARAMETERS[row.name], alone=alone).eval()


def noise(count: int = 4) -> Tensor:
    """What pixels are to the float network."""
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)) * 16 - 8


def integers(model: Model) -> Network:
    c, h, w = SHAPE
    images = np.random.default_rng(0).integers(0, 256, (64, h, w, c), np.uint8)
    q_scale = CONFIG.protection.q_scale
    return quantise_model(model, images, arithmetic=CONFIG.arithmetic, q_scale=q_scale)


def node_of(graph, row: Activation) -> Node:
    (found,) = [node for node in graph.nodes if node.op in ACTIVATIONS]
    assert found.op == row.name
    return found


def model_of(row: Activation, operator: str, *, alone: bool) -> Model:
    return from_module(module(row, operator, alone=alone), SHAPE, name="net", mean=MEAN, std=STD)


@pytest.mark.parametrize(("row", "operator"), OPERATORS, ids=IDS)
def test_the_graph_does_what_the_module_does(row: Activation, operator: str) -> None:
    made, x = module(row, operator, alone=True), noise().requires_grad_()
    graph = from_torch(made, x.detach(), "net")
    node = node_of(graph, row)
    wanted, (found, _) = made(x), run_graph(graph, x)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (wanted, found)]
    assert torch.equal(*gradients)  # of the ranking of neurons
    wanted, found = wanted.detach(), found.detach()
    assert torch.equal(found, wanted)
    assert not torch.equal(found, x.flatten(1)), "the noise shows nothing of this activation"
    lo, hi = row.clamp(*(getattr(node, name) for name in row.parameters))
    assert lo <= float(found.min()) <= float(found.max()) <= hi


@pytest.mark.parametrize(("row", "operator"), OPERATORS, ids=IDS)
def test_onnx_says_what_torch_says(row: Activation, operator: str, tmp_path: Path) -> None:
    made, x = module(row, operator), noise(2)
    graph = from_torch(made, x, "net")
    file = export(made, x, tmp_path / "net.onnx", new=False)
    read = from_onnx(file, "net")
    ours, theirs = node_of(graph, row), node_of(read, row)
    for name in row.parameters:
        assert getattr(theirs, name) == pytest.approx(getattr(ours, name))
    torch.testing.assert_close(run_graph(read, x)[0], made(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "behind a convolution"])
@pytest.mark.parametrize(("row", "operator"), OPERATORS, ids=IDS)
def test_integers_are_within_a_step(row: Activation, operator: str, alone: bool) -> None:
    """Of the activation of what is there before it: the same network without one."""
    model = model_of(row, operator, alone=alone)
    assert len(lower(model.graph).steps) == 1  # it costs no layer behind a convolution
    network = integers(model)
    scale = network.tensors[network.output].scale
    x = np.random.default_rng(2).integers(-128, 128, (64, 1, 1, 24)).astype(np.int8)
    found = reference.run_network(network, x)[network.output]
    (layer,) = network.layers
    bare = replace(network, layers=(replace(layer, act_lo=-128, act_hi=127),))
    before = reference.run_network(bare, x)[network.output]
    node = node_of(model.graph, row)
    given = [getattr(node, name) for name in row.parameters]
    wanted = row.run(torch.from_numpy(before.astype(np.float64)) * scale, *given).numpy()
    inside = (before > -128) & (before < 127)  # else the number itself is cut
    assert inside.mean() > 0.5
    assert (np.abs(found * scale - wanted)[inside] <= STEP * scale).all()


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "behind a convolution"])
@pytest.mark.parametrize(("row", "operator"), OPERATORS, ids=IDS)
def test_a_program_means_the_same(
    row: Activation, operator: str, alone: bool, tmp_path: Path
) -> None:
    model = model_of(row, operator, alone=alone)
    network = integers(model)
    save(compile_network(network, CONFIG, batch=2), tmp_path / "net.fhx")
    program = load(tmp_path / "net.fhx")
    x = np.random.default_rng(3).integers(-128, 128, (2, 1, 1, 24)).astype(np.int8)
    wanted = reference.run_network(network, x)[network.output]
    assert np.array_equal(reference.run_network(program.network, x)[program.output], wanted)
    assert np.array_equal(simulate(program, x, values="machine").outputs, wanted)

"""torch.export -> graph: the same function, and all unsupported operators in one message."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from flexhyca.compiler.execute import run_graph
from flexhyca.compiler.frontends import frontend_torch, torch_ops
from flexhyca.compiler.frontends.frontend_torch import from_torch
from flexhyca.errors import ModelError
from flexhyca.tests.compiler.frontends.zoo import SHAPES, ZOO, build


class Function(nn.Module):
    """A module of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.function(self.conv(x))


def read(function, shape=(3, 8, 8)):
    return from_torch(Function(function).eval(), torch.zeros(2, *shape), "net")


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_graph_computes_what_the_module_does(name, batch):
    module = build(name)
    graph = from_torch(module, torch.zeros(batch, *SHAPES[name]), name)
    x = torch.randn(4, *SHAPES[name], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(run_graph(graph, x)[0], module(x), rtol=1e-4, atol=1e-5)


def test_layers_are_named_by_their_path():
    graph = from_torch(build("Residual"), torch.zeros(2, 3, 8, 8), "net")
    assert [n.name for n in graph.nodes if n.op == "conv2d"] == ["stem.0", "a", "b", "down"]
    graph = from_torch(build("Twice"), torch.zeros(2, 3, 8, 8), "net")
    assert [n.name for n in graph.nodes if n.op == "conv2d"] == ["conv", "conv_2"]


def test_in_place_changes_are_seen_by_later_reads():
    def function(x):
        y = F.relu_(x)
        return x + y  # x has been changed, too

    graph = read(function)
    assert [n.op for n in graph.nodes] == ["input", "conv2d", "relu", "add"]
    assert graph.nodes[-1].inputs == ("relu", "relu")


def test_all_unsupported_operators_are_reported_together():
    def function(x):
        x = torch.sigmoid(x) * torch.sigmoid(-x)
        return F.pad(F.softmax(x, 1), (1, 1, 1, 1), value=2.0)

    with pytest.raises(ModelError) as caught:
        read(function)
    assert str(caught.value).startswith(
        "net: 5 unsupported operation(s): aten.sigmoid.default x2 (sigmoid, sigmoid_1); "
        "aten.neg.default x1 (neg); aten.mul.Tensor x1 (mul); aten.softmax.int x1 (softmax); "
    )


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda x: x + 1, "aten.add.Tensor on a constant or parameter x1 (add)"),
        (lambda x: torch.add(x, x, alpha=2), "aten.add.Tensor with a factor x1 (add)"),
        (lambda x: x + x.mean((2, 3), keepdim=True), "of shapes (3, 8, 8) and (3, 1, 1) (broadc"),
        (lambda x: F.adaptive_avg_pool2d(x, 3), "from 8x8 to 3x3, windows of unequal size"),
        (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), "divisor that differs"),
        (lambda x: torch.cat([x, x], 2), "aten.cat.default along axis 2 x1 (cat)"),
        (lambda x: x.mean(1), "aten.mean.dim over axes [1] x1 (mean)"),
        (lambda x: x.view(2, 24, 8), "from (3, 8, 8) to (24, 8) (only flattening is)"),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), "that is not a zero padding of a map"),
        (lambda x: F.relu_(x[:, :, 1:]), "aten.relu_.default in place on a view x1 (relu_)"),
    ],
)
def test_unsupported_uses_say_which(function, problem):
    with pytest.raises(ModelError) as caught:
        read(function)
    assert "net: 1 unsupported operation(s): " in str(caught.value)
    assert problem in str(caught.value)


def test_training_mode_is_refused():
    with pytest.raises(ModelError, match=r"net: the module is in training mode; call \.eval\(\)"):
        from_torch(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 8, 8), "net")


def test_two_outputs_are_refused():
    with pytest.raises(ModelError, match="net: the module returns 2 values, wanted 1"):
        read(lambda x: (x, x))


def test_untraceable_modules_are_refused():
    with pytest.raises(ModelError, match=r"net: torch\.export cannot trace the module: "):
        read(lambda x: x if x.sum() > 0 else -x)


def test_a_misread_operator_does_not_pass(monkeypatch):
    wrong = {**frontend_torch.TORCH_HANDLERS, "relu.default": torch_ops._identity}
    monkeypatch.setattr(frontend_torch, "TORCH_HANDLERS", wrong)
    with pytest.raises(ModelError, match=r"the graph read from torch\.export differs"):
        read(F.relu)

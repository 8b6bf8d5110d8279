"""Whatever a user has becomes a `Model`: a name, an ONNX file, a torch module."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import flexhyca as fh
from flexhyca.compiler.frontends.onnx_ops import ONNX_HANDLERS
from flexhyca.compiler.model import is_onnx
from flexhyca.errors import FlexhycaError
from flexhyca.tests.compiler.frontends.zoo import build

EXAMPLE = torch.zeros(2, 3, 8, 8)


def test_a_module_with_an_example():
    model = fh.load_model(build("Residual"), EXAMPLE)
    assert (model.name, model.input_shape, model.warnings) == ("Residual", (3, 8, 8), ())
    assert (model.mean, model.std) == ((0.0,) * 3, (1.0,) * 3)
    model = fh.load_model(build("Residual"), EXAMPLE, mean=[1, 2, 3], std=[4, 5, 6], name="mine")
    assert (model.name, model.mean, model.std) == ("mine", (1, 2, 3), (4, 5, 6))


def test_a_module_the_whole_way():
    config = fh.load_config("flexhyca-32x32")
    model = fh.load_model(build("Inverted"), EXAMPLE)
    network = fh.quantise(model, config)
    important = fh.select_important(fh.rank_neurons(model), network, config)
    result = fh.simulate(fh.compile(network, config, important))
    assert result.macs == sum(network.macs(i) for i in network.weights)


def test_the_module_may_change_later():
    module = build("Twice")
    model = fh.load_model(module, EXAMPLE)
    with torch.no_grad():
        module.conv.weight.zero_()
    assert model.graph.node("conv").params["weight"].any()


def test_a_shipped_network_with_another_normalisation():
    model = fh.load_model("digits", mean=(0.1,), std=(0.2,))
    assert (model.mean, model.std) == ((0.1,), (0.2,))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((nn.Conv2d(3, 3, 1).eval(),), {}, "Conv2d: give an example input, such as torch.zeros("),
        ((nn.ReLU().eval(), torch.zeros(3, 8, 8)), {}, "ReLU: the example is torch.float32 of sha"),
        ((nn.ReLU().eval(), EXAMPLE.double()), {}, "ReLU: the example is torch.float64 of shape "),
        ((3, EXAMPLE), {}, "load_model: source = 3; give a text, a path or a Module"),
        (("digits", EXAMPLE), {}, "digits: a name and an example belong to a torch module"),
        (("net.onnx",), {"name": "x"}, "net.onnx: a name and an example belong to a torch module"),
        (("digits",), {"mean": (1, 2)}, "model digits: mean has 2 values for 1 input channel(s)"),
        (("digits",), {"mean": (float("nan"),)}, "model digits: mean (nan,) must be finite"),
        (("digits",), {"std": (float("inf"),)}, "model digits: std (inf,) must be positive"),
    ],
)
def test_errors(arguments, options, message):
    with pytest.raises(FlexhycaError) as caught:
        fh.load_model(*arguments, **options)
    assert str(caught.value).startswith(message)


def test_onnx_files_are_known_by_their_suffix():
    assert is_onnx("a/b.onnx")
    assert is_onnx(Path("B.ONNX"))
    assert not is_onnx("onnx")


def test_the_page_lists_every_operator():
    page = (Path(fh.__file__).parent / "docs" / "models.md").read_text(encoding="utf-8")
    table = page.partition("| operator | limits |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([A-Za-z, ]+) \|", table, re.MULTILINE)
    assert sorted(", ".join(rows).split(", ")) == sorted(ONNX_HANDLERS)

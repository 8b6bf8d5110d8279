"""A network of zeros costs what the calibrated one costs."""

from __future__ import annotations

import numpy as np
import pytest

from flexhyca import api
from flexhyca.compiler.model import load_model
from flexhyca.compiler.shapes import shapes_of
from flexhyca.config import Arithmetic, load_config


@pytest.mark.parametrize("name", ["digits", "resnet20"])
def test_cycles_and_traffic_are_those_of_the_calibrated_network(name: str) -> None:
    model, config = load_model(name), load_config()
    q_scale = config.protection.q_scale
    empty = shapes_of(model, Arithmetic(), q_scale)
    full = api.quantise(model, config)
    assert [t.name for t in empty.tensors] == [t.name for t in full.tensors]
    masks = {
        i: np.random.default_rng(i).random((t.h, t.w, t.c)) < 0.05
        for i, t in ((i, full.tensors[full.layers[i].output]) for i in full.weights)
    }
    found, wanted = (
        api.simulate(api.compile(network, config, masks), values="none")
        for network in (empty, full)
    )
    assert found.cycles == wanted.cycles
    assert found.dram == wanted.dram
    assert all(not weight.any() for weight in empty.weights.values())

"""Plots of runs: files of the right kind, the same bytes twice, any number of layers."""

from pathlib import Path

import pytest

from flexhyca.compiler.compile_network import compile_network
from flexhyca.report.plots import _states, draw_layers
from flexhyca.simulator.cycles.stalls import (
    BOUND,
    BUSY,
    RESOURCES,
    STALLS,
)
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import one_conv, small_config


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_every_format(suffix: str, start: bytes, tmp_path: Path) -> None:
    result = simulate(compile_network(one_conv(), small_config()), values="none")
    layers = result.layers.to_dict("records")
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        draw_layers(path, "one", layers)
    assert paths[0].read_bytes().startswith(start)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_many_layers_make_a_higher_picture(tmp_path: Path) -> None:
    result = simulate(compile_network(one_conv(), small_config()), values="none")
    row = result.layers.to_dict("records")[0]
    heights = []
    for count in (5, 110):
        path = tmp_path / f"{len(heights)}.png"
        draw_layers(path, "many", [{**row, "name": f"layer{i}"} for i in range(count)])
        heights.append(int.from_bytes(path.read_bytes()[20:24]))
    assert heights[0] < 500
    assert 110 * 12 < heights[1] < 110 * 20


def test_every_state_has_a_colour_of_its_resource() -> None:
    for engine in BOUND:
        found = list(_states(engine))
        assert {state for state, _, _ in found} == {BUSY, *STALLS[engine]}
        assert len({colour for _, _, colour in found}) == len(found)
        assert {resource for _, resource, _ in found} <= {*RESOURCES, ""}

"""Search files: the shipped ones, ranges, and what is refused with which words."""

from pathlib import Path

import pytest

from flexhyca.config.search import list_searches, load_search
from flexhyca.errors import ConfigError


def test_the_shipped_spaces() -> None:
    assert list_searches() == ["full", "paper", "table1"]
    table1 = load_search("table1")
    assert table1.values["protection.s_th"] == tuple(i / 20 for i in range(1, 9))
    assert table1.values["protection.q_scale"] == tuple(range(1, 17))
    assert table1.values["dppu.size"] == (8, 16, 32, 64, 128, 256)
    assert (table1.limits.cycles, table1.limits.traffic) == (1.10, 0.10)
    assert 52 in load_search("paper").values["dppu.size"]
    assert 0 in load_search("full").values["dppu.size"]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "parameters:\n"
        "  dppu.size: [8, 16..32:8, '52,64']\n"
        "  protection.s_th: 0.1\n"
        "scenarios:\n"
        "  flight: [{ber: 1e-3, accuracy: 0.99}, {ber: 2e-3, accuracy: 0.9}]\n"
        "limits: {cycles: null, bandwidth: total}\n"
    )
    found = load_search(path)
    assert found.name == "mine"
    assert found.values == {"dppu.size": (8, 16, 24, 32, 52, 64), "protection.s_th": (0.1,)}
    assert [goal.accuracy for goal in found.scenarios["flight"]] == [0.99, 0.9]
    assert found.limits.model_dump() == {
        "cycles": None,
        "traffic": 0.10,
        "bandwidth": "total",
        "perf": "cycles",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "no sections; write parameters: and below it FIELD: VALUES"),
        ("limits: {}", "parameters: field required"),
        ("parameters: {dppu.size: null}", "parameters.dppu.size: give a value, a range or a list"),
        ("parameters: {dppu.size: 8}\nscenarios: {x: []}", "scenarios.x = []: list should have at"),
        ("parameters: {}", "parameters: none; give at least one field and its values"),
        (
            "parameters: {dppu.siz: 3}",
            "parameters.dppu.siz: no such field of a configuration; did you mean dppu.size?",
        ),
        (
            "parameters: {dppu.size: [4, 99999]}",
            "parameters.dppu.size: dppu.size = 99999: must be a whole number from 0 to 4096",
        ),
        (
            "parameters: {protection.s_policy: [unform]}",
            "parameters.protection.s_policy: protection.s_policy = 'unform': must be global, "
            "uniform or tile; did you mean uniform?",
        ),
        (
            "parameters: {protection.s_th: 0.1..x}",
            "parameters.protection.s_th: '0.1..x' is no range; write LOW..HIGH",
        ),
        ("parameters: {dppu.size: []}", "parameters.dppu.size: no values; give at least one"),
        ("parameters: {dppu.size: 8}\nlimit: {}", "unknown key limit; known are name, parameters"),
        (
            "parameters: {dppu.size: 8}\nscenarios: {a: [{ber: 2, accuracy: 1}]}",
            "scenarios.a.0.ber = 2: input should be less than or equal to 0.5",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_search(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_space_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="neither a readable YAML file nor one of full, paper"):
        load_search("nothing.yaml")
    with pytest.raises(ConfigError, match="did you mean table1"):
        load_search("tabl1")

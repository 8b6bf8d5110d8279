"""What `--vary` means, and which points a grid has."""

import pytest

from flexhyca.config import load_config
from flexhyca.dse.costs import base_of
from flexhyca.dse.grid import expand, parse_axis
from flexhyca.errors import ConfigError

PLACEMENTS = ("gradient", "random", "clustered")


def values(text: str) -> list[str]:
    return [row[0] for row in parse_axis(text, PLACEMENTS).values]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("protection.s_th=0.02..0.4", [f"{i / 100:g}" for i in range(2, 41, 2)]),
        ("protection.s_th=0..1", [f"{i / 20:g}" for i in range(21)]),
        ("protection.s_th=0.1..0.25:0.05", ["0.1", "0.15", "0.2", "0.25"]),
        ("protection.s_th=0.1..0.2:0.03", ["0.1", "0.13", "0.16", "0.19"]),
        ("protection.s_th=0.1..0.1", ["0.1"]),
        ("protection.q_scale=0..16", [str(i) for i in range(17)]),
        ("protection.q_scale=3..4", ["3", "4"]),
        ("dppu.size=100..300", [str(i) for i in range(100, 301, 10)]),
        ("dppu.size=4,8..16:4, 100,8", ["4", "8", "12", "16", "100"]),
        ("dppu.data_reuse=array,dram", ["array", "dram"]),
        ("placement=random,clustered", ["random", "clustered"]),
    ],
)
def test_values(text: str, expected: list[str]) -> None:
    assert values(text) == expected


def test_fields_of_one_axis_change_together() -> None:
    axis = parse_axis("protection.s_th=0.1,0.2  dppu.size=104..208:104", PLACEMENTS)
    assert axis.keys == ("protection.s_th", "dppu.size")
    assert axis.values == (("0.1", "104"), ("0.2", "208"))


NO_RANGE = "is no range; write LOW..HIGH or LOW..HIGH:STEP, LOW not above HIGH and STEP above 0"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "--vary is empty; write KEY=VALUES, such as dppu.size=52,104"),
        (
            "dppu.size",
            "--vary 'dppu.size': 'dppu.size' is not KEY=VALUES; "
            "write for example protection.s_th=0.02..0.4 or dppu.data_reuse=array,hybrid",
        ),
        (
            "protection.sth=0.1",
            "override 'protection.sth=0.1': unknown key protection.sth; "
            "did you mean protection.s_th?",
        ),
        ("vec={}", "--vary 'vec={}': vec is a section; name one of its fields"),
        ("name=a,b", "--vary 'name=a,b': name changes nothing; vary another field"),
        (
            "dppu.size=4,,8",
            "--vary 'dppu.size=4,,8': a value of dppu.size is empty; drop the comma",
        ),
        (
            "placement=here",
            "--vary 'placement=here': 'here' is no placement; use gradient, random, clustered",
        ),
        (
            "timing=native..scalesim",
            "--vary 'timing=native..scalesim': timing is no number; list its values with commas",
        ),
        ("dppu.size=8..4", f"--vary 'dppu.size=8..4': '8..4' {NO_RANGE}"),
        ("dppu.size=4..", f"--vary 'dppu.size=4..': '4..' {NO_RANGE}"),
        ("dppu.size=4..x", f"--vary 'dppu.size=4..x': '4..x' {NO_RANGE}"),
        ("dppu.size=4..8:0", f"--vary 'dppu.size=4..8:0': '4..8:0' {NO_RANGE}"),
        ("dppu.size=4..inf", f"--vary 'dppu.size=4..inf': '4..inf' {NO_RANGE}"),
        ("dppu.size=nan..4:1", f"--vary 'dppu.size=nan..4:1': 'nan..4:1' {NO_RANGE}"),
        (
            "protection.s_th=0..1:1e-9",
            "--vary 'protection.s_th=0..1:1e-9': '0..1:1e-9' has 1000000001 values, "
            "more than 100000",
        ),
        (
            "dppu.size=4,8 vec.lanes=1,2,3",
            "--vary 'dppu.size=4,8 vec.lanes=1,2,3': dppu.size has 2 value(s) and vec.lanes 3; "
            "fields of one --vary change together: give equally many",
        ),
    ],
)
def test_errors(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_axis(text, PLACEMENTS)
    assert str(caught.value) == error


def grid(*texts: str, sets: tuple[str, ...] = ()):
    axes = [parse_axis(text, PLACEMENTS) for text in texts]
    return expand("flexhyca-32x32", sets, axes, "random")


def test_the_first_axis_is_the_slowest_and_equal_points_count_once() -> None:
    points, invalid = grid(
        "dppu.size=52,104", "placement=gradient,random", "protection.s_th=0.1,0.1,0.10"
    )
    assert not invalid
    assert [point.label for point in points] == [
        f"dppu.size={size} placement={placement} protection.s_th=0.1"
        for size in (52, 104)
        for placement in ("gradient", "random")
    ]
    assert points[-1].config == load_config(
        "flexhyca-32x32", ["dppu.size=104", "protection.s_th=0.1"]
    )


def test_impossible_points_are_told_apart() -> None:
    points, invalid = grid("dppu.size=0,52", "protection.s_th=0,0.05")
    assert [point.label for point in points] == [
        "dppu.size=0 protection.s_th=0.0",
        "dppu.size=52 protection.s_th=0.0",
        "dppu.size=52 protection.s_th=0.05",
    ]
    assert invalid == [
        (
            "dppu.size=0 protection.s_th=0.05",
            "override 'protection.s_th=0.05': protection.s_th = 0.05 needs a DPPU, and dppu.size "
            "is 0; set protection.s_th to 0 or give dppu.size",
        )
    ]


@pytest.mark.parametrize(
    ("texts", "sets", "error"),
    [
        (
            ("dppu.size=4", "dppu.size=8"),
            (),
            "--vary dppu.size: given twice; put all its values into one --vary",
        ),
        (
            ("dppu.size=4",),
            ("dppu.size = 8",),
            "--vary dppu.size: also given by --set; drop one of the two",
        ),
        (
            ("dram.latency_cycles=1..1000:1", "vec.lanes=1..1000:1"),
            (),
            "--vary: the grid has 1000000 points, more than 100000; thin it",
        ),
        (
            ("dppu.size=50",),
            (),
            "no point of the grid is possible; the first, dppu.size=50: flexhyca-32x32: dppu.width "
            "= 4 does not divide dppu.size = 50; use 1, 2, 5 or 10, or a size of 48",
        ),
    ],
)
def test_grid_errors(texts: tuple[str, ...], sets: tuple[str, ...], error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        grid(*texts, sets=sets)
    assert str(caught.value) == error


def test_points_that_differ_in_the_dppu_alone_share_a_base() -> None:
    changes = ["dppu.data_reuse=array", "dppu.size=64", "protection.s_policy=global"]
    base = base_of(load_config("flexhyca-32x32", changes))
    assert base == base_of(load_config("flexhyca-32x32"))
    assert (base.dppu.size, base.protection.s_th) == (0, 0.0)
    assert base.protection.q_scale == load_config("flexhyca-32x32").protection.q_scale
    assert base != base_of(load_config("flexhyca-32x32", ["vec.lanes=8"]))


def test_redundancy_can_be_varied_and_its_base_has_none() -> None:
    texts = ["protection.redundancy=none,time", "protection.redundant_layers=[conv1],[conv2]"]
    points = expand("base-32x32", (), [parse_axis(text, ()) for text in texts], "random").points
    assert [tuple(point.varied.values()) for point in points] == [
        ("none", "conv1"), ("none", "conv2"), ("time", "conv1"), ("time", "conv2"),
    ]  # fmt: skip
    assert len({base_of(point.config) for point in points}) == 1
    assert base_of(points[0].config).protection.redundant_layers == ()

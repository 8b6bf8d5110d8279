"""Which points of a space mean something, and what is declared of its parameters."""

import numpy as np
import pytest

from flexhyca.config import load_config
from flexhyca.config.search import Limits, Search, load_search
from flexhyca.dse.space import PARAMETERS, Space
from flexhyca.errors import ConfigError
from flexhyca.hdl.area.machine import machine_area

BASE = load_config("flexhyca-32x32")


def space_of(**values: tuple[object, ...]) -> Space:
    named = {name.replace("__", "."): given for name, given in values.items()}
    return Space.of(Search(name="s", values=named, scenarios={}, limits=Limits()), BASE)


def test_table_1_has_49_152_points_that_mean_something() -> None:
    points = Space.of(load_search("table1"), BASE).points()
    assert len(points) == len({point.config.config_hash for point in points}) == 49_152


def test_points_are_valid_machines() -> None:
    space = space_of(dppu__size=(0, 50, 52), protection__s_th=(0.0, 0.1), protection__ib_th=(1, 2))
    points = space.points()
    assert [point.values for point in points] == [(0.0, 1, 0), (0.1, 1, 52), (0.1, 2, 52)]
    for point in points:
        assert type(point.config).model_validate(point.config.model_dump()) == point.config
        assert space.label(point.values).startswith("s_th=0")


def test_what_is_idle_without_a_dppu_is_left_out() -> None:
    space = space_of(
        protection__s_th=(0, 0.1),
        protection__s_policy=("global", "tile"),
        protection__ib_th=(2, 3),
        protection__nb_th=(1, 2),
        dppu__size=(0, 64),
        dppu__data_reuse=("dram", "hybrid"),
    )
    without = [point for point in space.points() if not point.config.dppu.size]
    assert [point.config.protection.nb_th for point in without] == [1, 2]
    assert all(p.config.protection.ib_th == p.config.protection.nb_th for p in without)


def test_spaces_that_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"array.rows: cannot be searched; these can: protection"):
        space_of(array__rows=(8, 16))
    with pytest.raises(ConfigError, match=r"1,048,576 points, more than 1,000,000; give fewer"):
        space_of(dppu__size=tuple(range(1024)), dppu__window=tuple(range(1, 1025)))
    with pytest.raises(ConfigError, match="are either both 0 or both above it"):
        space_of(dppu__size=(0,), protection__s_th=(0.1,)).points()
    with pytest.raises(ConfigError, match=r"no point .* 2 points: dppu.width does not divide"):
        space_of(dppu__size=(50,), protection__q_scale=(1, 2)).points()


def test_area_is_monotone_as_declared() -> None:
    rng = np.random.default_rng(0)
    space = Space.of(load_search("table1"), BASE)
    points = {point.values: point for point in space.points()}
    chosen = list(points)
    for place, name in enumerate(space.names):
        if not PARAMETERS[name].area:
            continue
        for number in rng.integers(len(chosen), size=12):
            row = [
                points[values].config
                for value in space.values[place]
                if (values := (*chosen[number][:place], value, *chosen[number][place + 1 :]))
                in points
            ]
            areas = [machine_area(config).scopes[0].area_ge for config in row]
            assert areas == sorted(areas, reverse=PARAMETERS[name].area < 0), name


def test_features_do_not_tell_idle_masks_apart() -> None:
    space = Space.of(load_search("full"), BASE)
    same = [
        point
        for point in space.points()
        if point.config.protection.nb_th == point.config.protection.ib_th == 2
        and point.config.protection.q_scale == 5
    ]
    assert len(same) > 100
    assert len({space.features(point.values) for point in same}) == 1

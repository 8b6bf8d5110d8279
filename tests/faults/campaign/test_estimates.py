"""Rates from rows: groups, classes, strata, and nothing dropped."""

import math

import pytest

from flexhyca.errors import InternalError
from flexhyca.faults.campaign.estimates import Tally
from flexhyca.faults.campaign.experiment import Ratio, Share, quantity_of
from flexhyca.faults.campaign.statistics import (
    Stratum,
    clustered,
    share,
    stratified,
)


def counted(quantity: Share | Ratio, rows: list[dict]) -> dict[str, object]:
    tally = Tally([quantity], 3)
    for index, row in enumerate(rows):
        tally.add({"index": index, **row})
    return {e.label: e.interval for e in tally.estimates()}


def test_all_that_is_not_good_has_failed() -> None:
    values = ["masked:tmr"] * 5 + ["masked:idle"] * 2 + ["sdc1", None, "decode error", "hang"]
    found = counted(
        Share("outcome", ("masked",), ("masked", "sdc1", "sdc5")),
        [{"outcome": value} for value in values],
    )
    assert found == {
        "outcome failure": share(4, 11, 3),
        "outcome masked": share(7, 11, 3),
        "outcome masked:idle": share(2, 11, 3),
        "outcome masked:tmr": share(5, 11, 3),
        "outcome sdc1": share(1, 11, 3),
        "outcome sdc5": share(0, 11, 3),
        "outcome None": share(1, 11, 3),
        "outcome decode error": share(1, 11, 3),
        "outcome hang": share(1, 11, 3),
    }


def test_a_class_within_another() -> None:
    values = ["sdc1"] * 2 + ["sdc5"] * 3 + ["changed"]
    found = counted(
        Share("outcome", ("changed",), ("sdc1", "sdc5"), within={"sdc5": "sdc1"}),
        [{"outcome": value} for value in values],
    )
    assert found["outcome failure"] == found["outcome sdc1"] == share(5, 6, 3)
    assert found["outcome sdc5"] == share(3, 6, 3)


def test_groups_are_apart() -> None:
    rows = [{"scheme": s, "ok": v} for s, v in (("base", "no"), ("cl", "yes"), ("cl", "no"))]
    found = counted(Share("ok", ("yes",), by=("scheme",)), rows)
    assert found["ok failure scheme=base"] == share(1, 1, 3)
    assert found["ok failure scheme=cl"] == share(1, 2, 3)


def test_images_of_one_fault_are_one_cluster() -> None:
    rows = [
        {"fault": fault, "correct": correct, "images": 10}
        for fault, correct in ((0, 9), (0, 8), (1, float("nan")), (1, 3), (2, None))
    ]
    assert counted(Ratio("correct", "images", "fault"), rows) == {
        "correct/images": clustered([17, 3, 0], [20, 20, 10], 3)
    }
    with pytest.raises(InternalError, match="trial 0: images = 0"):
        counted(Ratio("correct", "images"), [{"correct": 0, "images": 0}])


def test_strata_are_weighted() -> None:
    quantity = Share(
        "out", ("ok",), strata=("layer", "bit"), weights={"a/0": 0.9, "a/1": 0.1, "b/0": 0.0}
    )
    rows = [{"layer": "a", "bit": bit, "out": out} for bit, out in ((0, "ok"), (0, "sdc"))]
    assert counted(quantity, rows) == {}  # a/1 is missing yet
    tally = Tally([quantity], 3)
    assert tally.margin() == math.inf
    for index, row in enumerate(rows):
        tally.add({"index": index, **row})
    assert tally.margin() == math.inf
    rows.append({"layer": "a", "bit": 1, "out": "sdc"})
    expected = stratified([Stratum("a/0", 0.9, 2, 1), Stratum("a/1", 0.1, 1, 1)], 3).interval
    assert counted(quantity, rows)["out failure"] == expected
    with pytest.raises(InternalError, match="stratum c/0 has no weight"):
        counted(quantity, [*rows, {"layer": "c", "bit": 0, "out": "ok"}])


def test_quantities_survive_the_file() -> None:
    for quantity in (Ratio("a", "b", by=("c",)), Share("a", ("b",), ("b", "c"), weights={"x": 1})):
        described = {"kind": type(quantity).__name__, **vars(quantity)}
        listed = {k: list(v) if isinstance(v, tuple) else v for k, v in described.items()}
        assert quantity_of(listed) == quantity

"""Rates from rows: groups, classes, strata, and nothing dropped."""

import pytest

from flexhyca.errors import InternalError
from flexhyca.faults.campaign.estimates import Tally
from flexhyca.faults.campaign.experiment import (
    Loss,
    PairedDifference,
    Quantity,
    Ratio,
    Share,
    quantity_of,
)
from flexhyca.faults.campaign.statistics import (
    Stratum,
    clustered,
    paired_ratios,
    share,
    stratified,
)


def counted(quantity: Quantity, rows: list[dict]) -> dict[str, object]:
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


def test_losses_and_differences_are_paired_by_cluster() -> None:
    right = {("x", 1): [9, 8], ("y", 1): [7, 9], ("z", 1): [5, 5], ("x", 2): [3, 4]}
    rows = [
        {"scheme": scheme, "ber": ber, "fault": i, "right": n, "acc0": 10, "images": 10}
        for (scheme, ber), counts in right.items()
        for i, n in enumerate(counts)
    ]
    of = {"cluster": "fault", "by": ("scheme", "ber")}
    lost = counted(Loss("acc0", "right", "images", **of), rows)
    assert lost["(acc0 - right)/images scheme=y ber=1"] == paired_ratios(
        [10, 10], [7, 9], [10, 10], 3
    )
    assert len(lost) == 4
    differences = counted(PairedDifference("right", "images", **of, between="scheme"), rows)
    assert list(differences) == [
        f"right/images difference scheme={one} ber=1 minus={other}"
        for one, other in (("y", "x"), ("z", "y"), ("z", "x"))
    ]
    assert differences["right/images difference scheme=z ber=1 minus=y"] == paired_ratios(
        [5, 5], [7, 9], [10, 10], 3
    )
    only = PairedDifference("right", "images", **of, between="scheme", with_first_only=True)
    assert [name[-1] for name in counted(only, rows)] == ["x", "x"]
    # Of a block that is not complete yet, only what both have.
    some = counted(PairedDifference("right", "images", **of, between="scheme"), rows[:3])
    assert list(some.values()) == [paired_ratios([7], [9], [10], 3)]


def test_strata_are_weighted() -> None:
    quantity = Share(
        "out", ("ok",), strata=("layer", "bit"), weights={"a/0": 0.9, "a/1": 0.1, "b/0": 0.0}
    )
    rows = [{"layer": "a", "bit": bit, "out": out} for bit, out in ((0, "ok"), (0, "sdc"))]
    assert counted(quantity, rows) == {}  # a/1 is missing yet
    tally = Tally([quantity], 3)
    assert not tally.within(1)
    for index, row in enumerate(rows):
        tally.add({"index": index, **row})
    assert not tally.within(1)
    rows.append({"layer": "a", "bit": 1, "out": "sdc"})
    expected = stratified([Stratum("a/0", 0.9, 2, 1), Stratum("a/1", 0.1, 1, 1)], 3).interval
    assert counted(quantity, rows)["out failure"] == expected
    with pytest.raises(InternalError, match="stratum c/0 has no weight"):
        counted(quantity, [*rows, {"layer": "c", "bit": 0, "out": "ok"}])


def test_quantities_survive_the_file() -> None:
    for quantity in (
        Ratio("a", "b", by=("c",)),
        Share("a", ("b",), ("b", "c"), weights={"x": 1}),
        Loss("a", "b", "c", by=("d",)),
        PairedDifference("a", "b", "c", ("d", "e"), "e", with_first_only=True),
    ):
        described = {"kind": type(quantity).__name__, **vars(quantity)}
        listed = {k: list(v) if isinstance(v, tuple) else v for k, v in described.items()}
        assert quantity_of(listed) == quantity

"""Masking by layer and register: what is counted, what is said of it, and the picture."""

from pathlib import Path

import numpy as np
import pytest

from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign.statistics import share
from flexhyca.report.heat import draw_masking
from flexhyca.report.masking import FAILURE, TOTAL, breakdown, caption, short, table

SHARE = {
    "kind": "Share",
    "column": "outcome",
    "good": ["masked", "changed"],
    "classes": [],
    "by": [],
    "strata": [],
    "weights": None,
}
COLUMNS = {"unit": "str", "layer": "str", "register": "str", "outcome": "str"}


def described(**spec):
    return {
        "kind": "Flips",
        "spec": {"seed": 5, "flips": 1} | spec,
        "columns": COLUMNS,
        "quantities": [SHARE],
    }


def rows(*groups):
    """(layer, register, outcome, count) each; a register may be unit.register."""
    for layer, register, outcome, count in groups:
        unit, _, name = register.rpartition(".")
        row = {"unit": unit or "array", "layer": layer, "register": name, "outcome": outcome}
        yield from (row for _ in range(count))


MANY = (
    ("conv10", "acc", "masked:tmr", 300),
    ("conv10", "acc", "sdc1", 100),
    ("conv2", "wgt", "masked:idle", 5),
    ("conv2", "dppu.psum", "masked:somewhere", 7),
    ("conv2", "wgt", "crash", 1),
    ("conv2", "wgt", None, 2),
)


def test_every_trial_is_counted_where_it_hit_and_in_the_sums():
    found = breakdown(described(), rows(*MANY), "x.db")
    assert found.trials == 415
    assert found.layers == ["conv2", "conv10"]
    assert found.registers == ["wgt", "acc", "dppu.psum"]
    assert list(found.cells) == [
        ("conv2", "wgt"), ("conv2", "dppu.psum"), ("conv2", TOTAL),
        ("conv10", "acc"), ("conv10", TOTAL),
        (TOTAL, "wgt"), (TOTAL, "acc"), (TOTAL, "dppu.psum"), (TOTAL, TOTAL),
    ]  # fmt: skip
    assert {key: cell.trials for key, cell in found.cells.items() if key[0] == "conv2"} == {
        ("conv2", "wgt"): 8,
        ("conv2", "dppu.psum"): 7,
        ("conv2", TOTAL): 15,
    }
    cell = found.cells["conv10", "acc"]
    assert found.interval(cell, "masked:tmr") == share(300, 400, 5)
    assert found.interval(cell, FAILURE) == share(100, 400, 5)


def test_stages_come_first_and_what_nobody_named_is_a_failure():
    found = breakdown(described(), rows(*MANY), "x.db")
    assert found.stages == [
        "masked:tmr", "masked:idle", "masked:somewhere", "sdc1", "crash", "None"
    ]  # fmt: skip
    assert found.failures == ["sdc1", "crash", "None"]
    assert found.interval(found.cells["conv2", "wgt"], FAILURE) == share(3, 8, 5)


@pytest.mark.parametrize("seed", range(20))
def test_shares_of_a_cell_add_up(seed):
    rng = np.random.default_rng(seed)
    groups = [
        (f"l{rng.integers(3)}", str(rng.choice(["act", "acc"])), str(end), int(rng.integers(1, 9)))
        for end in rng.permutation(["masked:tmr", "changed", "sdc1", "sdc5", "masked:dppu"])
        for _ in range(3)
    ]
    found = breakdown(described(), rows(*groups), "x.db")
    assert sum(found.cells[layer, TOTAL].trials for layer in found.layers) == found.trials
    for cell in found.cells.values():
        shares = [found.interval(cell, stage) for stage in found.stages]
        assert sum(interval.estimate for interval in shares) == pytest.approx(1)
        assert {interval.trials for interval in shares} == {cell.trials}


def test_a_table_has_trials_and_intervals_and_marks_wide_ones():
    found = breakdown(described(), rows(*MANY), "x.db")
    head, lines = table(found)
    assert head == ["layer", "register", "trials", "tmr", "idle", "somewhere", "sdc1", "crash",
                    "None"]  # fmt: skip
    assert lines[0] == [
        "conv2", "wgt", 8, "0 [0-32]?", "62 [31-86]?", "0 [0-32]?", "0 [0-32]?", "12 [2-47]?",
        "25 [7-59]?",
    ]  # fmt: skip
    assert lines[3][:4] == ["conv10", "acc", 400, "75.0 [70.5-79.0]"]
    assert caption(found) == (
        "per cent of the faults [95 % interval], each by its worst outcome, 415 trials, "
        "seed 5; half width above 5 points: "
        "too few trials to rely on"
    )
    live = breakdown(described(live=True), rows(*MANY), "x.db")
    assert caption(live).startswith("per cent of the faults in what is still used [95 % interval]")


def test_small_shares_keep_their_digits():
    assert short(share(3, 100_000, 1)) == "0.003 [0.001-0.009]"
    assert short(share(0, 20, 1)) == "0 [0-16]"


def test_json_has_every_cell_with_its_intervals():
    found = breakdown(described(), rows(*MANY), "x.db").to_dict()
    assert (found["seed"], found["trials"], len(found["cells"])) == (5, 415, 9)
    own = found["cells"][3]
    assert (own["layer"], own["register"], own["trials"]) == ("conv10", "acc", 400)
    assert own["shares"]["failure"] == share(100, 400, 5).to_dict()
    assert set(own["shares"]) == {
        "masked:tmr", "masked:idle", "masked:somewhere", "sdc1", "crash", "None", "failure"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"columns": {"accuracy": "float"}},
            "x.db: trials of Flips have no layer; a masking breakdown needs a campaign of "
            "`flexhyca inject --faults register`",
        ),
        (
            {"spec": {"seed": 5, "flips": 3}},
            "x.db: each trial hits 3 bits, so that no outcome belongs to one register; use a "
            "campaign with --flips 1",
        ),
        ({}, "x.db: no trial is there yet; run the campaign"),
    ],
)
def test_errors(change, message):
    with pytest.raises(FlexhycaError) as error:
        breakdown(described() | change, rows(), "x.db")
    assert str(error.value) == message


def test_the_picture_has_a_map_for_every_outcome(tmp_path: Path):
    found = breakdown(described(), rows(*MANY), "x.db")
    draw_masking(tmp_path / "a.svg", "x.db", found)
    text = (tmp_path / "a.svg").read_text()
    for name in ("trials", "failure (sdc1, crash, None)", *found.stages, caption(found)):
        assert f"<!-- {name}" in text, name
    assert "<!-- [21.0-29.5] -->" in text  # the interval of 100 of 400
    draw_masking(tmp_path / "b.svg", "x.db", found)
    assert (tmp_path / "b.svg").read_text() == text


def test_many_layers_have_colours_only(tmp_path: Path):
    groups = [(f"l{i}", "acc", "sdc1", 3) for i in range(31)]
    found = breakdown(described(), rows(*groups), "x.db")
    draw_masking(tmp_path / "a.svg", "x.db", found)
    text = (tmp_path / "a.svg").read_text()
    assert "<!-- l30 -->" in text
    assert "<!-- [" not in text

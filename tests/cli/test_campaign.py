"""``flexhyca campaign``: what is in a file, and its rows."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from flexhyca.cli.campaign import drive, progress_text
from flexhyca.faults.campaign.estimates import Estimate
from flexhyca.faults.campaign.experiment import (
    ColumnType,
    Experiment,
    Quantity,
    Share,
    TrialRow,
    checked_rows,
    description,
)
from flexhyca.faults.campaign.run import Progress, run_campaign
from flexhyca.faults.campaign.statistics import share
from flexhyca.faults.campaign.store import Campaign
from flexhyca.faults.campaign.stored import CampaignGoal
from flexhyca.tests.faults.campaign.experiments import Drawn

Command = Callable[..., Any]  # conftest: arguments -> code, out, err


def test_show(flexhyca: Command, in_tmp: Path) -> None:
    finished = run_campaign(Drawn(), Path("c.db"), 300)
    shown = flexhyca("campaign", "show", "c.db")
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[:6] == [
        "c.db: Drawn, version of flexhyca e3b0c44298fc",
        "  seed: 1",
        "  model.rate: 0.2",
        "  sleep_s: 0.0",
        "  fatal: [-1, 0]",
        "300 trials wanted, 0 missing, 300 in the file",
    ]
    assert [line.split("  ")[1] for line in lines[6:]] == [e.label for e in finished.estimates]
    for line, estimate in zip(lines[6:], finished.estimates, strict=True):
        assert line.endswith(f"  {estimate.interval}")
        assert "300 trials" in line or "6,000 trials in 300 clusters" in line
        assert ", seed 1)" in line
    kept = json.loads(flexhyca("campaign", "show", "c.db", "--json", "-").out)
    assert kept["spec"] == Drawn().spec()
    assert kept["trials"] == {"wanted": 300, "missing": 0, "counted": 300}
    assert [(e["estimate"], e["seed"]) for e in kept["estimates"]] == [
        (e.interval.estimate, 1) for e in finished.estimates
    ]


def test_a_campaign_that_is_not_finished(flexhyca: Command, in_tmp: Path) -> None:
    experiment, numbers = Drawn(), [0, 1, 2, 3, 4, 7, 9]
    with Campaign(Path("c.db"), description(experiment)) as campaign:
        campaign.set_goal(CampaignGoal(20))
        campaign.add(checked_rows(experiment.columns, experiment.run(numbers), numbers, ""))
    lines = flexhyca("campaign", "show", "c.db").out.splitlines()
    assert lines[5:7] == [
        "20 trials wanted, 13 missing, 7 in the file",
        "rates over the 5 trials before the first missing one:",
    ]
    export = flexhyca("campaign", "export", "c.db", "--csv", "t.csv")
    assert (export.code, export.out) == (0, "t.csv: 5 trials\n")
    assert export.err == (
        "warning: c.db: the campaign is not finished; the table has the 5 of 20 trials before the "
        "first missing one\n"
    )
    assert len(Path("t.csv").read_text().splitlines()) == 6


def test_exports_are_complete(
    flexhyca: Command, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pyarrow.parquet import read_table

    finished = drive(Drawn(), Path("c.db"), 5000, margin=0.05)
    assert capsys.readouterr() == (
        "",
        f"c.db: {finished.trials} trials (stopped at the margin), "
        f"{finished.computed} in this run\n",
    )
    for kind, name in (("csv", "t.csv"), ("parquet", "t.parquet"), ("csv", "again.csv")):
        export = flexhyca("campaign", "export", "c.db", f"--{kind}", name)
        assert (export.code, export.err) == (0, "")
    trials = int(export.out.split()[1])
    assert trials == finished.trials
    assert trials % 100 == 0
    assert trials < 5000
    assert Path("t.csv").read_bytes() == Path("again.csv").read_bytes()
    assert read_table("t.parquet").num_rows == trials
    line = flexhyca("campaign", "show", "c.db").out.splitlines()[5]
    assert line.startswith(f"{trials} trials wanted (stopped at margin 0.05), 0 missing, ")


def test_errors(flexhyca: Command, in_tmp: Path) -> None:
    Path("text").write_text("x" * 4096)
    for arguments, error in (
        (("show", "none.db"), "none.db: there is no such file"),
        (
            ("show", "text"),
            "text: is not a campaign of flexhyca (file is not a database); give another file",
        ),
        (
            ("export", "text", "--csv", "none/t.csv"),
            f"none/t.csv: the folder {in_tmp}/none does not exist; create it first",
        ),
    ):
        found = flexhyca("campaign", *arguments)
        assert (found.code, found.out, found.err) == (2, "", f"error: {error}\n")
    for targets in ((), ("--csv", "a.csv", "--parquet", "a.parquet")):
        wrong = flexhyca("campaign", "export", "text", *targets)
        assert wrong.code == 2
        assert wrong.err == "error: campaign export: give either --csv or --parquet\n"


class Flips(Experiment):
    """Every third flip of conv1 is another prediction, all of fc are masked."""

    columns: ClassVar[Mapping[str, ColumnType]] = {
        "layer": "str",
        "register": "str",
        "outcome": "str",
    }
    quantities: Sequence[Quantity] = (Share("outcome", good=("masked", "changed")),)
    code: ClassVar[tuple[str, ...]] = ()  # as in tests/faults/campaign/experiments.py

    def spec(self) -> dict[str, Any]:
        return {"seed": 3, "flips": 1}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        return cls()

    def run(self, indices: Sequence[int]) -> list[TrialRow]:
        return [
            {
                "index": i,
                "layer": "conv1" if i % 2 else "fc",
                "register": "acc",
                "outcome": "sdc1" if i % 6 == 1 else "masked:tmr",
            }
            for i in indices
        ]


def test_masking(flexhyca: Command, in_tmp: Path) -> None:
    run_campaign(Flips(), Path("c.db"), 600)
    plain = flexhyca("campaign", "show", "c.db")
    shown = flexhyca("campaign", "show", "c.db", "--masking", "--plot", "heat.svg", "--json", "x")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(plain.out)
    assert shown.out[len(plain.out) :].splitlines() == [
        "",
        "per cent of the faults [95 % interval], each by its worst outcome, 600 trials, "
        "seed 3; half width above 5 points: "
        "too few trials to rely on (?)",
        "layer  register  trials  tmr                 sdc1",
        "conv1  acc          300  67 [61-72]?         33 [28-39]?",
        "conv1  (all)        300  67 [61-72]?         33 [28-39]?",
        "fc     acc          300  100.0 [98.7-100.0]  0.0 [0.0-1.3]",
        "fc     (all)        300  100.0 [98.7-100.0]  0.0 [0.0-1.3]",
        "(all)  acc          600  83.3 [80.1-86.1]    16.7 [13.9-19.9]",
        "(all)  (all)        600  83.3 [80.1-86.1]    16.7 [13.9-19.9]",
    ]
    kept = json.loads(Path("x").read_text())["masking"]
    assert kept["cells"][0]["shares"]["failure"] == share(100, 300, 3).to_dict()
    assert Path("heat.svg").stat().st_size > 10_000
    run_campaign(Drawn(), Path("d.db"), 30)
    wrong = flexhyca("campaign", "show", "d.db", "--masking")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == (
        "error: d.db: trials of Drawn have no register; a masking breakdown needs a campaign of "
        "`flexhyca inject --faults register`\n"
    )


def test_progress_line() -> None:
    estimate = Estimate("outcome failure", {"scheme": "base"}, share(5, 500, 7))
    assert progress_text(Progress(500, 9_000, 1234.5, [estimate])) == (
        "1,234/s, 0:07 left, "
        "outcome failure scheme=base 1.00 % [0.43, 2.32] (95 %, 500 trials, seed 7)"
    )
    assert Progress(0, 9, 0.0, []).seconds_left == math.inf
    assert progress_text(Progress(3, 9_000, 0.5, [])) == "0.5/s, 299:54 left"


def test_results_do_not_overwrite_campaigns(flexhyca: Command, in_tmp: Path) -> None:
    run_campaign(Drawn(), Path("c.db"), 20)
    run_campaign(Drawn(), Path("other.db"), 20)
    before = Path("c.db").read_bytes()
    twice = "error: c.db: is named twice; results need files of their own\n"
    database = (
        "error: other.db: is a study or a campaign (or another SQLite file), which this would "
        "overwrite; give another file, or delete it first\n"
    )
    for options, message in (
        (("export", "c.db", "--csv", "c.db"), twice),
        (("export", "c.db", "--parquet", "c.db"), twice),
        (("show", "c.db", "--json", "./c.db"), twice),
        (("export", "c.db", "--csv", "other.db"), database),
        (("show", "c.db", "--json", "other.db"), database),
    ):
        refused = flexhyca("campaign", *options)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.replace("./", "") == message
    picture = flexhyca("inject", "digits", "--faults", "ber", "--ber", "1e-3", "--trials", 1,
                       "--out", "p.png", "--plot", "p.png")  # fmt: skip
    assert (picture.code, picture.err) == (2, twice.replace("c.db", "p.png"))
    assert Path("c.db").read_bytes() == before
    assert sorted(path.name for path in in_tmp.iterdir()) == ["c.db", "other.db"]


def test_a_table_on_standard_output(flexhyca: Command, in_tmp: Path) -> None:
    run_campaign(Drawn(), Path("c.db"), 30)
    run_campaign(Drawn(), Path("c.db"), 20)
    flexhyca("campaign", "export", "c.db", "--csv", "t.csv")
    export = flexhyca("campaign", "export", "c.db", "--csv", "-")
    assert export.out == Path("t.csv").read_text()
    assert len(export.out.splitlines()) == 21
    assert export.err == ("c.db: has 30 trials; the table is of the 20 that were asked for last\n")
    assert flexhyca("campaign", "export", "c.db", "--parquet", "-").code == 2
    assert not Path("-").exists()


def test_a_margin_that_is_not_reached_is_told(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = drive(Drawn(), Path("c.db"), 100, margin=0.001)
    widest = max(e.interval.margin for e in finished.estimates)
    line = capsys.readouterr().err.splitlines()[1]
    assert line.startswith("the margin 0.001 is not reached: ")
    assert line.endswith(f" is +- {widest:.2g}; give more --trials")

"""`flexhyca inject` and `sites`, end to end."""

import csv
import json

import pytest

from flexhyca.config.schemes import REDUNDANT_SCHEMES
from flexhyca.faults.campaign import run as campaign
from flexhyca.faults.campaign.run import Interrupted
from flexhyca.isa.registers import BUFFER_BYTES, BY_UNIT

SITE = "layer=conv1,tile=0,cycle=9,row=3,col=4,reg=act,bit=6"


def test_sites_lists_what_every_layer_uses(flexhyca):
    run = flexhyca("sites", "digits", "--json", "-")
    rows = json.loads(run.out)["rows"]
    units = {row["unit"] for row in rows}
    assert units == {"array", "skew", "dppu", "dppu_excess", "buffer"}
    array = [row for row in rows if row["unit"] == "array"]
    assert {row["register"] for row in array} == set(BY_UNIT["array"])
    assert len(array) == len(BY_UNIT["array"]) * 5
    whole = {row["register"] for row in rows if row["layer"] == "*"}
    assert whole == set(BUFFER_BYTES) - {"scratchpad", "activation"}  # which this machine has not
    assert all(0 <= row["live"] <= 1 for row in rows)
    assert flexhyca("sites", "digits").out.startswith("layer")


def test_sites_under_a_scheme(flexhyca):
    bare, tripled = (
        json.loads(flexhyca("sites", "digits", "--scheme", name, "--json", "-").out)["rows"]
        for name in ("base", "tmr_crt1")
    )
    count = [
        sum(r["flip_flops"] for r in rows if r["register"] == "acc") for rows in (bare, tripled)
    ]
    assert count[1] > count[0]


def test_a_bit_that_is_stuck_in_all_tiles_of_a_layer_has_no_cycle(flexhyca):
    site = "layer=conv2,tile=*,row=0,col=0,reg=acc,bit=3,stuck=1"
    run = flexhyca("inject", "digits", "--site", site, "--json", "-", "--explain")
    (trial,) = json.loads(run.out)["trials"]
    assert trial["story"][0].startswith("layer=conv2,tile=*,cycle=0,")
    assert trial["outcome"] in trial["story"][-1] or "masked" in trial["story"][-1]


def test_the_story_of_one_flip(flexhyca):
    run = flexhyca("inject", "digits", "--site", SITE, "--explain")
    lines = run.out.splitlines()
    assert run.code == 0
    assert lines[0] == SITE + ",copy=0,unit=array"
    assert lines[1] == "tile 0 of conv1: pixels 0..31, channels 0..15, 9 operands a sum"
    assert any(x.startswith("12 sum(s) differ; stored are bits") for x in lines)  # columns 4..15
    trial = json.loads(flexhyca("inject", "digits", "--site", SITE, "--json", "-").out)["trials"]
    assert trial[0]["site"] == lines[0]
    assert trial[0]["outcome"] == lines[-1].partition(":")[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "inject: give either --site or --faults"),
        (("--site", "layer=conv9,tile=0,cycle=0,row=0,col=0,reg=act,bit=0"), "did you mean conv"),
        (("--site", SITE.replace("row=3", "row=32")), "row=32 is outside 0..31"),
        (("--site", SITE, "--image", "360"), "image 360 is outside 0..359"),
        (("--site", "layer=conv1,tile=0,reg=ifmap,word=7,bit=0"), "cycle missing"),
        (("--site", "layer=relu,tile=0,reg=ifmap,word=7,bit=0,cycle=0"), "layer 'relu' is not in"),
        (("--site", SITE, "--live"), "--live goes with --faults register or"),
        (("--site", SITE, "--out", "x.db"), "--out goes with --faults register or"),
        (("--site", SITE, "--workers", "2"), " or --find-rate, not with --site"),
        (("--site", SITE, "--protect", "conv1"), "the configuration computes nothing three times"),
        (
            ("--faults", "register", "--scheme", "tmr_cl", "--protect", "conv1", "--out", "x.db"),
            "--protect: scheme tmr_cl computes nothing three times; give --scheme "
            + " or ".join(REDUNDANT_SCHEMES),
        ),
        (
            ("--faults", "register", "--workers", "2", "--dask", "tcp://x:1"),
            "give either --workers or --dask",
        ),
        (
            ("--site", SITE, "--config", "base-32x32", "--set", "array.dataflow=ws"),
            "unit 'array' is not in this machine; use array_ws, skew_ws, buffer\n",
        ),
        (("--faults", "register", "--margin", "0"), "--margin 0 is not between 0 and 1"),
        (
            ("--faults", "memory", "--out", "x.db", "--stuck-cycles", "3"),
            "--stuck-cycles goes with --faults stuck, not with --faults memory",
        ),
    ],
)
def test_what_cannot_be_injected(flexhyca, options, message):
    run = flexhyca("inject", "digits", *options)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("error: ")
    assert message in run.err
    assert run.err.count("\n") == 1


def test_a_crash_has_no_output(flexhyca):
    site = "layer=conv1,tile=0,word=0,reg=instruction,bit=4"
    trial = json.loads(flexhyca("inject", "digits", "--site", site, "--json", "-").out)["trials"]
    assert (trial[0]["outcome"], trial[0]["output_hash"]) == ("crash", None)
    assert flexhyca("inject", "digits", "--site", site).out.startswith("crash (instruction 0: ")


@pytest.mark.parametrize("model", ["memory", "control", "stuck"])
def test_campaigns_of_other_faults(flexhyca, tmp_path, model):
    study = tmp_path / "study.db"
    common = ("inject", "digits", "--faults", model, "--images", 4, "--out", study, "--live")
    run = flexhyca(*common, "--trials", 20, "--json", "-")
    assert run.code == 0, run.err
    report = json.loads(run.out)
    assert 0 < report["live"] <= 1
    assert {row["what"].split()[-1] for row in report["results"]} >= {"crash", "hang", "sdc1"}


def test_a_campaign_is_kept_and_extended(flexhyca, tmp_path):
    study = tmp_path / "study.db"
    common = ("inject", "digits", "--faults", "register", "--images", 8, "--out", study)
    first = flexhyca(*common, "--trials", 40)
    assert first.code == 0
    assert "40 trials, 40 in this run" in first.err
    more = flexhyca(*common, "--trials", 60, "--json", tmp_path / "r.json")
    assert "60 trials, 20 in this run" in more.err
    results = json.loads((tmp_path / "r.json").read_text())["results"]
    assert all({"estimate", "low", "high", "trials", "seed"} <= row.keys() for row in results)
    assert flexhyca("campaign", "export", study, "--csv", tmp_path / "t.csv").code == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [int(row["index"]) for row in rows] == list(range(60))
    other = flexhyca(*common, "--trials", 60, "--seed", 1)
    assert other.code == 2
    assert "seed" in other.err


def test_registers_under_a_scheme(flexhyca):
    flip = ("--site", SITE.replace("reg=act,bit=6", "reg=acc,bit=23"), "--json", "-")
    bare, tripled = (
        json.loads(flexhyca("inject", "digits", "--scheme", name, *flip).out)["trials"][0]
        for name in ("base", "tmr_crt1")
    )
    assert bare["outcome"] != "masked:tmr"
    assert tripled["outcome"] == "masked:tmr"
    run = flexhyca("inject", "digits", "--scheme", "base,tmr_cl", *flip)
    assert run.err == ("error: inject: 2 schemes are given; only --faults ber compares several\n")


def test_a_campaign_that_is_not_kept(flexhyca, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = flexhyca("inject", "digits", "--faults", "register", "--trials", 20, "--json", "-")
    assert run.code == 0
    report = json.loads(run.out)
    assert (report["campaign"], report["trials"]) == (None, 20)
    assert run.err == (
        "20 trials\nthe campaign was not kept; with --out FILE.db it is, and can be gone on with\n"
    )

    def interrupt(*_):
        raise Interrupted("the temporary file is named here")

    monkeypatch.setattr(campaign, "run_campaign", interrupt)
    run = flexhyca("inject", "digits", "--faults", "register", "--trials", 20)
    assert run.code == 130
    assert run.err == (
        "interrupted: nothing is kept; give --out FILE.db to go on where a campaign stopped\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_another_configuration_is_refused_with_its_fields(flexhyca, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    register = ("inject", "digits", "--faults", "register", "--trials", 5, "--out", "c.db")
    report = json.loads(flexhyca(*register, "--json", "-").out)
    assert [report[key] for key in ("model", "config", "faults", "trials", "seed")] == [
        "digits", "flexhyca-32x32", "register", 5, 0
    ]  # fmt: skip
    other = flexhyca(*register, "--set", "array.rows=16", "--set", "protection.voter=output")
    assert (other.code, other.out) == (2, "")
    lines = other.err.splitlines()
    assert "c.db: holds another campaign; give another file" in lines[0]
    assert {line.removeprefix("error: ").strip() for line in lines[1:3]} == {
        "config.array.rows: 32 there, 16 here",
        "config.protection.voter: feedback there, output here",
    }
    shown = flexhyca("campaign", "show", "c.db").out
    assert "\n  network: digits\n  config: flexhyca-32x32\n" in shown
    assert str(tmp_path.parent) not in shown
    ber = ("inject", "digits", "--faults", "ber", "--ber", "1e-3", "--trials", 1, "--out", "b.db")
    assert flexhyca(*ber).code == 0
    other = flexhyca(*ber, "--set", "array.rows=16")
    assert "configs.0.array.rows: 32 there, 16 here" in other.err
    assert "  cases: 00 base 0.001, 01 tmr_cl 0.001\n" in flexhyca("campaign", "show", "b.db").out

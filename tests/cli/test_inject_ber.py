"""`flexhyca inject --faults ber`, end to end."""

import json

import pytest

from flexhyca.config.schemes import REDUNDANT_SCHEMES

BER = ("inject", "digits", "--faults", "ber", "--images", 60, "--images-per-pattern", 20)


def test_schemes_are_compared_on_the_same_errors(flexhyca, tmp_path):
    study, plot = tmp_path / "s.db", tmp_path / "s.png"
    schemes = "base,tmr_crt1,tmr_arch,tmr_cl@flexhyca-32x32-rate2"
    options = ("--ber", "0,3e-3", "--scheme", schemes, "--protect", "conv2,conv3", "--trials", 5)
    run = flexhyca(*BER, *options, "--out", study, "--plot", plot, "--json", "-")
    assert run.code == 0, run.err
    report = json.loads(run.out)
    rows = report["results"]
    assert [(row["scheme"], row["ber"]) for row in rows] == [
        (scheme, rate) for rate in (0.0, 3e-3) for scheme in schemes.split(",")
    ]
    assert all(row["trials"] == 100 and row["seed"] == 0 for row in rows)
    assert all(row["accuracy"] == row["golden_accuracy"] for row in rows[:4])
    assert rows[4]["accuracy"] < rows[5]["accuracy"]
    assert (rows[4]["goal"], rows[6]["protect"]) == (0.95, ["conv2", "conv3"])
    assert {"ber", "fit_per_mbit", "mean_live_cycles"} <= report["fit"][1].keys()
    assert len(report["differences"]) == 12  # all pairs
    assert plot.read_bytes().startswith(b"\x89PNG")
    text = flexhyca(*BER, *options, "--out", study)
    assert "40 trials, 0 in this run" in text.err
    assert text.out.startswith("digits: 5 patterns x 20 images a case, 95 % intervals")
    assert "FIT per Mbit at 1000 MHz" in text.out


def test_a_margin_holds_for_all_that_is_shown_and_the_file_says_the_same(flexhyca, tmp_path):
    """Three cases: a look after 100 rows would be in the middle of a pattern."""
    study = tmp_path / "s.db"
    options = ("--ber", "1e-3", "--scheme", "base,tmr_crt1,tmr_crt2", "--margin", "0.02")
    report = json.loads(flexhyca(*BER, *options, "--out", study, "--json", "-").out)
    shown = [
        row["details"][name]
        for row in report["results"]
        for name in ("accuracy", "loss", "changed")
    ]
    shown += report["differences"]
    assert len(shown) == 12
    assert all(row["high"] - row["low"] <= 0.04 for row in shown)
    found = json.loads(flexhyca("campaign", "show", study, "--json", "-").out)
    bounds = ("estimate", "low", "high", "trials", "clusters")
    there = {tuple(row[name] for name in bounds) for row in found["estimates"]}
    assert there == {tuple(row[name] for name in bounds) for row in shown}
    patterns = report["results"][0]["patterns"]
    assert found["trials"] == {"wanted": 3 * patterns, "missing": 0, "counted": 3 * patterns}


def test_layers_are_measured_then_protected(flexhyca, tmp_path):
    layers, plot = tmp_path / "l.db", tmp_path / "l.png"
    options = ("--ber", "3e-3", "--per-layer", "--trials", 4, "--out", layers, "--plot", plot)
    report = json.loads(flexhyca(*BER, *options, "--json", "-").out)
    assert {row["unit"] for row in report["sensitivity"]} == {
        *("conv1", "conv2", "conv3", "conv4", "fc")
    }
    gains = [row["sensitivity"] for row in report["sensitivity"]]
    assert gains == sorted(gains, reverse=True)
    assert len(report["cumulative"]) == 6
    assert report["cumulative"][-1]["accuracy"] == report["results"][0]["golden_accuracy"]
    assert (tmp_path / "l.cumulative.db").exists()
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "points gained when this alone is protected" in flexhyca(*BER, *options).out


def test_each_table_of_layers_has_its_own_trials(flexhyca, tmp_path):
    """A margin stops the layers alone and the cumulative curve at different patterns."""
    layers, svg = tmp_path / "l.db", tmp_path / "l.svg"
    options = ("inject", "digits", "--faults", "ber", "--ber", "1e-3", "--images-per-pattern", 20)
    options += ("--per-layer", "--margin", "0.02", "--out", layers, "--plot", svg)
    run = flexhyca(*options, "--json", tmp_path / "l.json")
    report = json.loads((tmp_path / "l.json").read_text())
    numbers = [report[part][0]["clusters"] for part in ("sensitivity", "cumulative")]
    assert numbers[0] != numbers[1]
    heading, single, cumulative = (line for line in run.out.splitlines() if "patterns" in line)
    assert heading == "digits: 95 % intervals over patterns, seed 0"
    assert single.endswith(f"is protected, {numbers[0]} patterns x 20 images a case")
    assert cumulative == (
        f"protected one after the other, {numbers[1]} patterns x 20 images a case"
    )
    text = svg.read_text()
    assert all(f"{number} patterns x 20 images a case" in text for number in numbers)


def test_rates_are_found_and_drawn(flexhyca, tmp_path):
    plot = tmp_path / "r.svg"
    options = ("--find-rate", "10,40", "--trials", 12, "--plot", plot, "--out", tmp_path / "r.db")
    run = flexhyca(*BER, *options, "--json", tmp_path / "r.json")
    assert run.code == 0, run.err
    report = json.loads((tmp_path / "r.json").read_text())
    first, second = report["rates"]["I'"], report["rates"]["II'"]
    assert [row["ber"] for row in report["results"]] == [first, second]
    assert all(not {"goal", "verdict"} & row.keys() for row in report["results"])
    search = report["search"]
    assert {first, second} <= {row["ber"] for row in search}
    assert [row["ber"] for row in search] == sorted(row["ber"] for row in search)
    assert all(row["clusters"] == 40 and row["low"] < row["high"] for row in search)
    text = plot.read_text()
    for part in (
        "digits: 12 patterns x 20 images a case, 95 % intervals over patterns, seed 0",
        "search, 40 patterns x 20 images",
        "10 to 40 points",
        f"I' = {first:g}",
        f"II' = {second:g}",
    ):
        assert part in text, part
    assert "fault-free, 60 images" in run.out


def test_a_goal_for_all_rates_or_for_each(flexhyca, tmp_path):
    options = ("--ber", "0,1e-4,2e-4", "--scheme", "base", "--trials", 2, "--out")
    for given, goals in (("0.9", [0.9] * 3), ("0.9,0.8,0.7", [0.9, 0.8, 0.7])):
        run = flexhyca(*BER, *options, tmp_path / "g.db", "--goal", given, "--json", "-")
        assert [row["goal"] for row in json.loads(run.out)["results"]] == goals
    run = flexhyca(*BER, *options, tmp_path / "g.db", "--json", "-")
    assert [row["goal"] for row in json.loads(run.out)["results"]] == [0.97, 0.95, 0.95]


def test_few_patterns_decide_nothing(flexhyca, tmp_path):
    options = ("--ber", "1e-3", "--scheme", "base", "--goal", "0.85", "--trials")
    few, more = (
        json.loads(flexhyca(*BER, *options, n, "--out", tmp_path / "f.db", "--json", "-").out)
        for n in (2, 100)
    )
    assert few["results"][0]["accuracy"] > 0.85
    assert few["results"][0]["verdict"] == "open"
    assert more["results"][0]["verdict"] == "met"


REDUNDANT = "computes no layer three times; leave it out, or give --scheme " + " or ".join(
    REDUNDANT_SCHEMES
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--goal", "0.9,0.8,0.7", "--ber", "1e-3"),
            "goal 0.9,0.8,0.7: 3 goals, and rates are 1; give one goal for all rates, or one for "
            "each",
        ),
        (
            ("--goal", "0.9,0.8", "--ber", "1e-4,2e-4,3e-4"),
            "goal 0.9,0.8: 2 goals, and rates are 3; give one goal for all rates, or one for each",
        ),
        (("--protect", "nolayer"), f"protect: base,tmr_cl {REDUNDANT}"),
        (("--scheme", "base", "--choose-trials", 200), f"choose-trials: base {REDUNDANT}"),
        (
            ("--scheme", "tmr_alg", "--protect", "conv2", "--choose-trials", 9),
            "choose-trials: the layers are given; leave it out, or --protect",
        ),
        (("--device", "tpu"), "device 'tpu' is not known; use cpu or cuda"),
        (("--fit-per-mbit", "5,5"), "fit-per-mbit: a rate is given twice in 5,5"),
        (
            ("--margin", "0"),
            "inject: --margin 0 is not between 0 and 1; give 0.01 for 1 %",
        ),
        *(
            (
                ("--fit-per-mbit", value),
                f"fit-per-mbit {shown} is outside 0..6.9e+23: beyond that a bit of this network is "
                "wrong with more than 0.5 at 1000 MHz",
            )
            for value, shown in (("-4", "-4"), ("1e30", "1e+30"), ("nan", "nan"))
        ),
    ],
)
def test_errors_name_option_value_and_limit(flexhyca, tmp_path, options, message):
    run = flexhyca(*BER, *options, "--out", tmp_path / "x.db")
    assert (run.code, run.out, run.err) == (2, "", f"error: {message}\n")


def test_redundant_schemes_choose_their_layers(flexhyca, tmp_path):
    options = ("--ber", "3e-3", "--scheme", "tmr_alg", "--goal", "0.9", "--choose-trials", 4)
    run = flexhyca(*BER, *options, "--trials", 4, "--out", tmp_path / "s.db", "--json", "-")
    (row,) = json.loads(run.out)["results"]
    assert 0 < len(row["protect"]) < 5
    assert row["accuracy"] > 0.8
    assert (tmp_path / "s.sensitivity.db").exists()


def test_raw_rates_are_error_rates_by_exposure(flexhyca, tmp_path):
    options = ("--fit-per-mbit", "4e21", "--scheme", "base", "--trials", 3)
    run = flexhyca(*BER, *options, "--out", tmp_path / "s.db", "--json", "-")
    report = json.loads(run.out)
    assert report["fit"][0]["fit_per_mbit"] == pytest.approx(4e21)
    assert 1e-4 < report["results"][0]["ber"] < 1e-2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "x.db", "--ber", "0.7"), "ber 0.7 is outside 0..0.5"),
        (("--out", "x.db", "--ber", "1e-4,1e-4"), "a rate is given twice"),
        (("--out", "x.db", "--scheme", "tmr"), "scheme 'tmr' does not exist; did you mean"),
        (("--out", "x.db", "--scheme", "base,base"), "one is given twice"),
        (("--out", "x.db", "--scheme", "tmr_cl@none"), "none"),
        (("--out", "x.db", "--scheme", "tmr_alg", "--protect", "conv9"), "'conv9'"),
        (("--out", "x.db", "--goal", "97"), "relative accuracies lie between 0 and 1"),
        (("--out", "x.db", "--ber", "1e-4", "--fit-per-mbit", "1"), "either --ber or --fit"),
        (("--out", "x.db", "--per-layer", "--find-rate", "1,2"), "either --per-layer or"),
        (("--out", "x.db", "--find-rate", "10"), "give two losses in points"),
        (("--out", "x.db", "--flips", "2"), "--flips goes with --faults register"),
        (("--out", "x.db", "--explain"), "--explain goes with --site, not with --faults ber"),
        (("--out", "x.db", "--device", "abacus"), "device"),
    ],
)
def test_what_cannot_be_asked(flexhyca, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    run = flexhyca(*BER, *options)
    assert (run.code, run.out) == (2, "")
    assert message in run.err
    assert run.err.startswith("error: ")
    assert run.err.count("\n") == 1


def test_options_of_other_models_are_refused(flexhyca):
    run = flexhyca("inject", "digits", "--site", "x", "--ber", "1e-4")
    assert run.err == (
        "error: inject: --ber goes with --faults ber or --per-layer, not with --site\n"
    )
    for flow, options in (
        ("--per-layer", ("scheme", "protect", "choose-trials")),
        ("--find-rate=10,40", ("ber", "fit-per-mbit", "goal", "scheme", "protect")),
    ):
        for option in options:
            run = flexhyca("inject", "digits", "--faults", "ber", flow, f"--{option}", "1")
            assert f"inject: --{option} goes with " in run.err
            assert run.err.endswith(f", not with {flow.partition('=')[0]}\n")
    run = flexhyca("inject", "digits", "--faults", "gamma")
    assert run.code == 2
    assert "'gamma' is no fault model; use register or " in run.err


def test_results_in_the_place_of_a_further_campaign_are_refused(flexhyca, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s.cumulative.db", "s.sensitivity.db", "s.sensitivity.cumulative.db"):
        run = flexhyca(*BER, "--per-layer", "--ber", "1e-3", "--out", "s.db", "--json", name)
        assert run.err == f"error: {name}: is named twice; results need files of their own\n"
    assert list(tmp_path.iterdir()) == []

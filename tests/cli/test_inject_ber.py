"""`flexhyca inject --faults ber`, end to end."""

import json

import pytest

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

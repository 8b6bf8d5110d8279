"""`flexhyca inject` on a part of the machine, and with bits that are stuck for ever."""

import json

import pytest

DIGITS = ("inject", "digits", "--images", 30, "--trials", 8)


def test_a_part_of_the_registers(flexhyca, tmp_path):
    study = tmp_path / "s.db"
    options = ("--unit", "array", "--register", "acc,prod", "--layers", "conv*", "--out", study)
    run = flexhyca(*DIGITS, "--faults", "register", *options, "--json", "-")
    report = json.loads(run.out)
    assert report["part"] == {
        "units": ["array"],
        "registers": ["acc", "prod"],
        "layers": ["conv*"],
    }
    assert "bits x cycles (register " in report["drawn_from"]
    share = float(report["drawn_from"].rpartition(", ")[2].partition("%")[0])
    assert 0 < share < 100
    table = flexhyca("campaign", "export", study, "--csv", "-").out.splitlines()
    rows = [dict(zip(table[0].split(","), line.split(","), strict=False)) for line in table[1:]]
    assert {row["register"] for row in rows} <= {"acc", "prod"}
    assert {row["layer"] for row in rows} <= {"conv1", "conv2", "conv3", "conv4"}
    text = flexhyca(*DIGITS, "--faults", "register", *options).out
    assert f"of {report['drawn_from']}" in text
    other = flexhyca(*DIGITS, "--faults", "register", "--out", study)
    assert other.code == 2
    assert "holds another campaign" in other.err
    assert "part.units" in other.err


def test_a_bit_that_is_stuck_for_ever_is_judged_over_many_images(flexhyca, tmp_path):
    study = tmp_path / "s.db"
    options = ("--faults", "stuck", "--register", "acc,ifmap", "--out", study)
    report = json.loads(flexhyca(*DIGITS, *options, "--json", "-").out)
    assert (report["trials"], report["images_per_fault"]) == (160, 20)
    found = {row["what"]: row for row in report["results"]}
    for kind in ("register", "memory"):
        row = found[f"outcome failure kind={kind}"]
        assert (row["trials"], row["clusters"]) == (80, 4)
    assert found["outcome failure"]["clusters"] == 8
    masking = flexhyca("campaign", "show", study, "--masking")
    assert masking.code == 2
    assert masking.err == (
        f"error: {study}: each fault is judged over 20 images, and a masking breakdown counts "
        "independent trials; use a campaign with --images-per-fault 1\n"
    )
    few = ("--faults", "stuck", "--unit", "array", "--images-per-fault", 3)
    assert json.loads(flexhyca(*DIGITS, *few, "--json", "-").out)["trials"] == 24


def test_a_stuck_bit_beside_the_flips(flexhyca):
    site = "layer=*,tile=*,row=0,col=0,reg=acc,bit=15,stuck=1"
    options = ("--faults", "register", "--with", site, "--json", "-")
    report = json.loads(flexhyca(*DIGITS, *options).out)
    alone = json.loads(flexhyca(*DIGITS, *options[:2], *options[4:]).out)
    masked = [
        next(r["estimate"] for r in x["results"] if r["what"] == "outcome masked")
        for x in (report, alone)
    ]
    assert masked[0] < masked[1]


def test_bit_errors_of_some_layers_and_memories(flexhyca):
    options = ("--faults", "ber", "--ber", "5e-3", "--scheme", "base", "--json", "-")
    lost = []
    for part in ((), ("--layers", "conv1"), ("--register", "neurons"), ("--layers", "fc")):
        report = json.loads(flexhyca(*DIGITS, *options, *part).out)
        lost.append(report["results"][0]["details"]["loss"]["estimate"])
    assert lost[0] > max(lost[1:])
    every = flexhyca(*DIGITS, *options, "--layers", "conv*,fc").out
    assert every == flexhyca(*DIGITS, *options).out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--faults", "register", "--unit", "dpu"),
            "unit 'dpu' is nothing that fault model 'register' hits here; did you mean dppu?",
        ),
        (
            ("--faults", "memory", "--register", "acc,ifmap"),
            "register 'acc' is nothing that fault model 'memory' hits here; use ifmap, weight, "
            "residual, output, result",
        ),
        (
            ("--faults", "stuck", "--layers", "conv9"),
            "layers 'conv9' is nothing that fault model 'stuck' hits here; did you mean conv4?",
        ),
        (
            ("--faults", "register", "--unit", "array,,dppu"),
            "inject: --unit 'array,,dppu' has an empty name between its commas",
        ),
        (
            ("--faults", "ber", "--layers", "conv9"),
            "layers 'conv9' is nothing that has bit errors here; use conv1, conv2, conv3, conv4, "
            "fc",
        ),
        (
            ("--faults", "ber", "--unit", "array"),
            "inject: --unit goes with --faults register or --faults memory or --faults control or "
            "--faults stuck, not with --faults ber",
        ),
    ],
)
def test_a_part_that_is_none(flexhyca, options, message):
    run = flexhyca(*DIGITS, *options)
    assert run.code == 2
    assert run.err.splitlines()[-1] == f"error: {message}"

"""Campaigns at a bit error rate: corners, pairing, and that only the trial's number matters."""

import numpy as np
import pytest
from scipy.stats import binom

from flexhyca.config.schemes import with_scheme
from flexhyca.errors import FlexhycaError
from flexhyca.faults.ber import machine as ber_machine
from flexhyca.faults.ber.experiment import BerFaults
from flexhyca.faults.ber.options import BerOptions, Case
from flexhyca.faults.ber.protection import (
    ProtectedNetwork,
    neuron_shield,
    weight_shields,
)
from flexhyca.isa.program_file import save
from flexhyca.isa.protection import protected_columns
from flexhyca.network.functional import Functional
from flexhyca.tests.support import (
    compiled,
    one_conv,
    random_inputs,
    random_masks,
    small_config,
)

SCHEMES = ("base", "tmr_crt1", "tmr_crt3", "tmr_cl")
CONFIG = small_config("protection.ib_th=3", "protection.s_th=0.2")


@pytest.fixture
def study(tmp_path):
    """Programs of one network under four schemes; labels are what it says without faults."""
    network = one_conv(h=6, c=5, n=6)
    programs = []
    for name in SCHEMES:
        masks = random_masks(network, 0.2, 1) if name == "tmr_cl" else None
        programs.append(compiled(network, with_scheme(CONFIG, name), masks))
        save(programs[-1], tmp_path / f"{name}.fhx")
    images = random_inputs(network, 23, 0)
    labels = np.argmax(Functional(network).run(images).reshape(23, -1), axis=1)
    np.save(tmp_path / "i.npy", images)
    np.save(tmp_path / "l.npy", labels)

    def make(cases, **options):
        files = [tmp_path / f"{name}.fhx" for name in SCHEMES]
        options = {"images_per_pattern": 5, "logits": True, **options}
        kept = {k: options.pop(k) for k in ("purpose", "profile") if k in options}
        paths = [tmp_path / "i.npy"] * len(files), tmp_path / "l.npy"
        return BerFaults(files, cases, *paths, 3, BerOptions(**options), **kept)

    make.programs = programs
    return make


def cases(*rates, **more):
    return [Case(name, rate, i, **more) for rate in rates for i, name in enumerate(SCHEMES)]


@pytest.mark.parametrize("target", ["neuron", "acc"])
@pytest.mark.parametrize("protected", ["ideal", "tmr_copies"])
def test_rate_zero_is_the_golden_output(study, target, protected):
    rows = study(cases(0.0), target=target, protected=protected, input=True).run(range(8))
    assert all(row["changed"] == 0 and row["correct"] == row["images"] == 5 for row in rows)
    assert all(row["neuron_words"] == row["weight_words"] == 0 for row in rows)


@pytest.mark.parametrize("stage", ["before_relu", "after_relu"])
@pytest.mark.parametrize("target", ["neuron", "acc"])
@pytest.mark.parametrize("protected", ["ideal", "tmr_copies"])
def test_rate_one_half(study, stage, target, protected):
    options = {"stage": stage, "target": target, "protected": protected, "input": True}
    rows = study(cases(0.5), **options).run(range(4))
    assert rows[0]["neuron_words"] > 0.9 * 5 * 6 * 6 * 6
    assert rows[0]["changed"] > 0


@pytest.mark.parametrize("target", ["neuron", "acc"])
@pytest.mark.parametrize("weight_faults", ["pe", "raw", "none"])
def test_ideal_protection_of_every_bit_is_golden_at_any_rate(study, target, weight_faults):
    whole = cases(0.5, protect=("conv",))
    rows = study(whole, target=target, weight_faults=weight_faults).run(range(4))
    assert all(row["changed"] == row["neuron_words"] == row["weight_words"] == 0 for row in rows)
    left = study(whole, protected="tmr_copies", logits=True).run(range(1))
    assert left[0]["neuron_words"] > 0  # 3p^2 - 2p^3 of one half is one half


def test_trials_depend_on_their_number_only(study, monkeypatch):
    experiment = study(cases(0.01, 0.05), input=True)
    rows = experiment.run(range(24))
    again = BerFaults.from_spec(experiment.spec())
    assert again.spec() == experiment.spec()
    assert again.run([17, 3]) == [rows[17], rows[3]]
    assert all(row.keys() == {"index", *BerFaults.columns} for row in rows)
    monkeypatch.setattr(ber_machine, "_HELD", 1)  # image after image
    assert study(cases(0.01, 0.05), input=True).run(range(24)) == rows
    assert study(cases(0.01, 0.05), input=True, purpose="rates").run(range(24)) != rows


def test_patterns_do_not_depend_on_the_other_cases(study):
    two = study(cases(0.01, 0.05)).run(range(16))
    one = study(cases(0.01)).run(range(8))
    for pattern in range(2):
        for i in range(4):
            found, wanted = one[4 * pattern + i], two[8 * pattern + i]
            assert {**found, "index": 0} == {**wanted, "index": 0}


def test_schemes_and_rates_are_paired(study):
    rows = study(cases(0.05, 0.1)).run([0, 1, 2, 3, 4])
    left = [row["neuron_words"] for row in rows]
    assert left[0] > left[1] > left[2]  # more protected bits leave less of the same flips
    assert left[1] > left[3] > left[2]  # 1 bit, and 3 of the important neurons
    assert left[4] > left[0]


@pytest.mark.parametrize(("target", "bits"), [("neuron", 8), ("acc", 24)])
def test_words_are_wrong_as_often_as_they_should_be(study, target, bits):
    rate, patterns = 0.01, 40
    rows = study([Case("base", rate)], target=target).run(range(patterns))
    network = study.programs[0].network
    for column, words, held in (
        ("neuron_words", 5 * network.neurons(0), bits),
        ("weight_words", network.weights[0].size, 8),
    ):
        low, high = binom.interval(0.999, words * patterns, 1 - (1 - rate) ** held)
        assert low <= sum(row[column] for row in rows) <= high


def test_images_of_patterns_go_round(study):
    experiment = study([Case("base", 0.0)], images_per_pattern=10)
    seen = np.concatenate([experiment.bench.images(n) for n in range(23)])
    assert np.bincount(seen).tolist() == [10] * 23
    many = study([Case("base", 0.0)], images_per_pattern=99).run([0])
    assert many[0]["images"] == 23


def test_what_is_protected(study):
    programs = study.programs
    base, _, three, own = (ProtectedNetwork.compiled(program) for program in programs)
    options, shift = BerOptions(), base.network.layers[0].shift

    def both(shield):
        return list(zip(shield.low[0].tolist(), shield.high[0].tolist(), strict=True))

    assert both(neuron_shield(three, options)) == [(5, 8), (8, 8)]
    assert both(neuron_shield(own, options)) == [(7, 8), (5, 8)]
    assert all(low >= high for low, high in both(neuron_shield(base, options)))
    array, dppu = weight_shields(own, options)
    assert (both(array)[0], both(dppu)[0]) == ((7, 8), (5, 8))
    raw, _ = weight_shields(own, BerOptions(weight_faults="raw"))
    assert both(raw)[0][0] == 8
    acc = BerOptions(target="acc")
    columns = [protected_columns(own.config, shift, unit) for unit in ("array", "dppu")]
    assert both(neuron_shield(own, acc)) == [(c.start, c.stop) for c in columns]
    assert len(columns[0]) < len(columns[1])
    assert both(neuron_shield(three, acc))[0] == (5, 24)  # direct, unconstrained
    assert both(neuron_shield(base, acc, ("co*",)))[0] == (0, 24)
    masks = random_masks(own.network, 0.2, 1)
    for subject in (own, ProtectedNetwork.of(own.network, own.config, masks)):
        assert list(subject.important) == [0]
        assert np.array_equal(subject.important[0], np.flatnonzero(masks[0]))
    assert not ProtectedNetwork.of(base.network, base.config, masks).important


def test_rates_of_layers_follow_a_profile(study):
    plain = study([Case("base", 0.02)]).run([0])[0]
    none = study([Case("base", 0.02)], profile={"neurons/conv": 0.0, "weights/conv": 0.0}).run([0])[
        0
    ]
    more = study([Case("base", 0.02)], profile={"neurons/conv": 2.0}).run([0])[0]
    double = study([Case("base", 0.04)]).run([0])[0]
    assert none["neuron_words"] == none["weight_words"] == 0
    assert more["neuron_words"] == double["neuron_words"] > plain["neuron_words"]
    assert more["weight_words"] == plain["weight_words"]


@pytest.mark.parametrize("rate", [-1e-9, 0.6, float("nan")])
def test_rates_that_are_none(rate):
    with pytest.raises(FlexhycaError, match=r"is outside 0..0.5: it is the probability"):
        Case("base", rate)


def test_options_that_do_not_exist():
    with pytest.raises(FlexhycaError, match="stage is 'relu'; use before_relu or after_relu"):
        BerOptions(stage="relu")
    with pytest.raises(FlexhycaError, match="images_per_pattern is 0; give at least 1"):
        BerOptions(images_per_pattern=0)

"""Results of campaigns at a bit error rate, sensitivities, rates and FIT."""

import numpy as np
import pytest

from flexhyca.errors import FlexhycaError
from flexhyca.faults.ber.fit import exposure
from flexhyca.faults.ber.options import BerOptions, Case
from flexhyca.faults.ber.rates import find_rates
from flexhyca.faults.ber.results import Counts, differences, packed, results, unpacked
from flexhyca.faults.ber.sensitivity import (
    UNPROTECTED,
    chosen,
    cumulative_cases,
    protection_steps,
    ranked,
    single_cases,
    units,
)
from flexhyca.faults.campaign.statistics import wilson
from flexhyca.network.layers import Network
from flexhyca.tests.support import compiled, one_conv, small_config


def rows(correct, images=10, acc0=10, extra=0):
    """correct : (patterns, cases)."""
    found = [
        {
            "index": i,
            "images": images,
            "correct": int(value),
            "golden_correct": acc0,
            "acc0_correct": acc0,
            "changed": images - int(value),
            "right": packed(np.arange(images) < value),
            "acc0_right": packed(np.arange(images) < acc0),
        }
        for i, value in enumerate(np.ravel(correct))
    ]
    return found + found[:extra]


def counts_of(rows, cases, seed=0):
    """Patterns of 10 of 50 images, in turn."""
    numbers = np.arange(10 * (len(rows) // len(cases))).reshape(-1, 10) % 50
    return Counts(rows, cases, seed, 50, numbers)


CASES = [Case("base", 1e-3), Case("tmr_crt1", 1e-3), Case("base", 2e-3)]


def drawn(patterns=200):
    rng = np.random.default_rng(0)
    return rng.binomial(10, [0.7, 0.95, 0.5], (patterns, 3))


def test_results_are_paired_and_have_their_trials():
    correct = drawn()
    counts = counts_of(rows(correct, extra=2), CASES, 7)  # an incomplete pattern is left out
    assert counts.patterns == 200
    base, crt, high = results(counts, [0.97, 0.9, 0.5])
    assert (base.verdict, crt.verdict) == ("missed", "met")
    assert high.verdict == "open"
    for i, result in enumerate((base, crt, high)):
        assert result.accuracy.estimate == pytest.approx(correct[:, i].mean() / 10)
        assert result.loss.estimate == pytest.approx(1 - correct[:, i].mean() / 10)
        assert (result.accuracy.trials, result.accuracy.clusters) == (2000, 200)
        assert (result.golden.estimate, result.golden.trials) == (1.0, 50)
        row = result.to_dict()
        assert {"scheme", "ber", "accuracy", "golden_accuracy", "interval", "trials", "seed"} <= (
            row.keys()
        )
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
    bare = results(counts)[0].to_dict()
    assert bare == {k: v for k, v in results(counts, [0.97] * 3)[0].to_dict().items() if k in bare}
    assert not {"goal", "verdict"} & bare.keys()
    (pair,) = differences(counts)
    assert (pair.scheme, pair.than, pair.ber) == ("tmr_crt1", "base", 1e-3)
    assert 0.22 < pair.interval.low < 0.25 < pair.interval.high < 0.3
    with pytest.raises(FlexhycaError, match="2 trials are less than one pattern under 3 cases"):
        counts_of(rows(correct)[:2], CASES, 7)


def test_over_patterns_and_images():
    """Images that the faults always hit make an accuracy unsure, however many patterns."""
    rng = np.random.default_rng(2)
    numbers = np.arange(10 * 400).reshape(400, 10) % 50
    weak = numbers % 5 == 0
    right = rng.random(numbers.shape) < np.where(weak, 0.3, 0.99)
    better = right | (rng.random(numbers.shape) < 0.5)
    found = [
        {
            **dict.fromkeys(("images", "golden_correct", "acc0_correct"), 10),
            "correct": int(own.sum()),
            "changed": int((~own).sum()),
            "right": packed(own),
            "acc0_right": packed(np.ones(10, bool)),
        }
        for pattern in range(400)
        for own in (right[pattern], better[pattern])
    ]
    counts = Counts(found, CASES[:2], 0, 50, numbers)
    accuracy, loss = counts.over_images(0)
    own = counts.accuracy(0)
    assert (accuracy.estimate, accuracy.clusters) == (own.estimate, 400)
    assert accuracy.margin > 4 * own.margin
    # Ten of fifty images are right 0.3 of the time: the mean of 50 draws of such.
    spread = np.sqrt(0.2 * 0.8 / 50) * 0.69
    assert 1.6 < accuracy.margin / spread < 3
    assert (loss.low, loss.high) == pytest.approx((1 - accuracy.high, 1 - accuracy.low), abs=0.01)
    _, difference = counts.over_images(1, 0)
    assert difference.margin > 2 * counts.difference(1, 0).margin
    sure = counts_of(rows(np.full((50, 3), 10)), CASES).over_images(0)[0]
    assert sure.low < wilson(50, 50)[0]  # an unlike image may have been missed
    row = results(counts)[0].to_dict()["details"]
    assert row["accuracy_over_images"] == accuracy.to_dict()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 50])
def test_flags_of_images_survive_the_file(count):
    flags = np.random.default_rng(count).random(count) < 0.5
    np.testing.assert_array_equal(unpacked(packed(flags), count), flags)


def network(*names):
    one = one_conv(h=2, n=2)
    layers = tuple(type(one.layers[0])(**{**vars(one.layers[0]), "name": n}) for n in names)
    weights = dict.fromkeys(range(len(names)), one.weights[0])
    biases = dict.fromkeys(range(len(names)), one.biases[0])
    return Network("n", one.tensors, layers, weights, biases, one.arithmetic, 0, 1)


def test_units_are_blocks_of_residual_networks_and_layers_of_others():
    resnet = network("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.downsample.0", "fc")
    assert units(resnet) == {
        "conv1": ("conv1",),
        "layer1.0": ("layer1.0.conv1", "layer1.0.conv2"),
        "layer2.0": ("layer2.0.downsample.0",),
        "fc": ("fc",),
    }
    assert list(units(network("features.0", "features.3"))) == ["features.0", "features.3"]


def test_protecting_in_the_order_of_sensitivity():
    cases = single_cases(network("a", "b", "c"), [1e-3])
    assert [case.scheme for case in cases] == [UNPROTECTED, "a", "b", "c"]
    assert [case.protect for case in cases] == [(), ("a",), ("b",), ("c",)]
    rng = np.random.default_rng(1)
    single = counts_of(rows(rng.binomial(10, [0.5, 0.55, 0.8, 0.6], (300, 4))), cases)
    ranking = ranked(single)
    assert [row.unit for row in ranking[1e-3]] == ["b", "c", "a"]
    assert ranking[1e-3][0].gain.low > 0.2
    along = cumulative_cases(ranking)
    assert [case.protect for case in along] == [(), ("b",), ("b", "c"), ("b", "c", "a")]
    curve = counts_of(rows([[5, 8, 9, 10]] * 20), along)
    assert [step.accuracy.estimate for step in protection_steps(curve)] == [0.5, 0.8, 0.9, 1.0]
    assert chosen(curve, {1e-3: 0.85}) == {1e-3: ("b", "c")}
    assert chosen(curve, {1e-3: 0.5}) == {1e-3: ()}
    dip = counts_of(rows([[5, 9, 8, 10]] * 20), along)
    assert chosen(dip, {1e-3: 0.85}) == {1e-3: ("b", "c", "a")}


class Bench:
    """Loses 100 * (1 - exp(-rate / scale)) points."""

    def __init__(self, scale):
        self.scale = scale

    def trial(self, case, number, highest):
        assert case.ber == highest
        right = 100 * np.exp(-case.ber / self.scale)
        return {"images": 100, "acc0_correct": 100, "correct": right}


@pytest.mark.parametrize("scale", [1e-7, 3e-4, 0.02, 0.5])
def test_find_rates(scale):
    found = find_rates(Bench(scale), 0, 0.1, 0.4, 3)
    first, second = found.first, found.second
    assert second == 2 * first
    assert first == float(f"{first:.2g}")
    for rate in (first, second):
        assert 0.1 <= 1 - np.exp(-rate / scale) <= 0.4
    assert 0.1 < 1 - np.exp(-first / scale) < 0.16
    rates = [tried.ber for tried in found.tried]
    assert rates == sorted(set(rates))
    assert {first, second} <= set(rates)
    for tried in found.tried:
        assert tried.loss.estimate == pytest.approx(1 - np.exp(-tried.ber / scale))
        assert (tried.loss.trials, tried.loss.clusters) == (300, 3)


def test_rates_that_cannot_be_found():
    with pytest.raises(FlexhycaError, match="give two losses in points, such as 10,40"):
        find_rates(Bench(1), 0, 0.4, 0.1, 1)
    with pytest.raises(FlexhycaError, match=r"even rate 0.5 loses 4.9 points only; 13.0 are"):
        find_rates(Bench(10), 0, 0.1, 0.4, 1)
    with pytest.raises(FlexhycaError, match="give a wider range"):
        find_rates(Bench(1e-3), 0, 0.1, 0.15, 1)


def test_fit_by_exposure():
    config = small_config(base="base-32x32")
    program = compiled(one_conv(h=4, n=4), config, None)
    found = exposure(program, [1000], BerOptions(logits=True))
    neurons, weights = 4 * 4 * 4 * 8, 4 * 9 * 16 * 8
    assert found.bits == neurons + weights
    assert found.cycles == 500  # from the middle of the layer to the end, and from the start
    assert found.profile == {"neurons/conv": 1.0, "weights/conv": 1.0}
    # One upset in 10^9 hours of 2^20 bits, for 500 cycles of 1 ns.
    assert found.ber(1.0, 1e9) == pytest.approx(500e-9 / (1e9 * 3600 * 2**20))
    assert found.fit_per_mbit(found.ber(12.5, 2e8), 2e8) == pytest.approx(12.5)
    assert exposure(program, [1000], BerOptions()).bits == weights  # the logits are not hit
    acc = exposure(program, [1000], BerOptions(target="acc", logits=True, input=True))
    assert acc.bits == 3 * neurons + weights + 4 * 4 * 16 * 8
    with pytest.raises(FlexhycaError, match="no bit is left that could be wrong"):
        exposure(program, [1000], BerOptions(weight_faults="none"))

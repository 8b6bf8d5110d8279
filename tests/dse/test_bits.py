"""Algorithm 2 with pruning, held against the paper's loops over all pairs on the same faults."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from flexhyca.config import Config, load_config
from flexhyca.config.schemes import with_scheme
from flexhyca.config.search import AccuracyGoal
from flexhyca.dse.bits import choose_bits, pairs_of, with_bits
from flexhyca.dse.evaluate import StageJob, accuracy_job
from flexhyca.dse.labelled import Kept, working
from flexhyca.dse.results import Results
from flexhyca.errors import ConfigError
from flexhyca.exploration import bits, labelled_images
from flexhyca.faults.ber.options import BerOptions
from flexhyca.hdl.area.machine import machine_area

CONFIG = load_config("flexhyca-32x32", ["protection.s_th=0.1", "protection.q_scale=9"])
PATTERNS = 20


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    given = labelled_images("digits")
    with working(given, CONFIG, BerOptions(), 0, Kept(), {}, {}) as found:
        found.all([StageJob("network", with_scheme(CONFIG, "base"))])
        found.all([StageJob("network", CONFIG)])
        yield found


def enumerated(results: Results, ber: float, goal: float) -> tuple[tuple[int, int] | None, int]:
    """The paper's Algorithm 2 as it stands, over the pairs that a machine can have."""
    best, opt_cost, evaluations = None, np.inf, 0
    for ib_th in range(1, 9):
        for nb_th in range(1, 9):
            if nb_th > ib_th:
                continue
            config: Config = with_bits(CONFIG, ib_th, nb_th)
            right = right0 = 0
            for first in range(0, PATTERNS, 10):
                (answer,) = results.all([accuracy_job(config, ber, "search", first)])
                block = results.block("search", answer)
                right, right0 = right + int(block.right.sum()), right0 + int(block.right0.sum())
            evaluations += 1
            cost = machine_area(config).scopes[0].relative
            if right > goal * right0 and cost < opt_cost:
                best, opt_cost = (ib_th, nb_th), cost
    return best, evaluations


@pytest.mark.parametrize(
    ("ber", "goal"),
    [(1e-3, 0.97), (3e-3, 0.9), (3e-3, 0.97), (6e-3, 0.8), (6e-3, 0.93), (1.5e-2, 0.6)],
)
def test_pruning_changes_no_answer(results: Results, ber: float, goal: float) -> None:
    best, evaluations = enumerated(results, ber, goal)
    pairs = pairs_of(CONFIG, 8)
    wanted = AccuracyGoal(ber=ber, accuracy=goal)
    found = choose_bits(CONFIG, wanted, pairs, results, PATTERNS)
    assert len(pairs) == evaluations == 36
    assert (found.best and found.best.pair[:2]) == best
    assert len(found.tried) <= 0.4 * evaluations
    whole = choose_bits(CONFIG, wanted, pairs, results, PATTERNS, prune=False)
    assert (whole.best and whole.best.pair[:2]) == best
    for pair, by in found.out.items():
        assert pair.ib_th <= by.ib_th
        assert pair.nb_th <= by.nb_th


def test_the_goal_has_to_be_exceeded(results: Results) -> None:
    """What cannot be exceeded even without faults is refused at once."""
    with pytest.raises(ConfigError, match="goal 1 is impossible: without any fault the network"):
        choose_bits(
            CONFIG, AccuracyGoal(ber=1e-12, accuracy=1.0), pairs_of(CONFIG, 8), results, PATTERNS
        )


def test_without_a_dppu_both_are_the_same() -> None:
    base = load_config("flexhyca-32x32", ["dppu.size=0", "protection.s_th=0", "protection.ib_th=0"])
    assert [pair[:2] for pair in pairs_of(base, 3)] == [(1, 1), (2, 2), (3, 3)]


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ber 0: give a number above 0 and up to 0.5"):
        bits("digits", ber=0)
    with pytest.raises(ConfigError, match=r"goal 1.5: give a number above 0 and up to 1"):
        bits("digits", goal=1.5)
    with pytest.raises(ConfigError, match=r"patterns 15: give a multiple of 10"):
        bits("digits", patterns=15)
    none = ["protection.pe_policy=none", "protection.nb_th=0"]
    with pytest.raises(ConfigError, match=r"bits: no pair is possible; protection.nb_th needs"):
        bits("digits", changes=none)

"""The table of optimisers: which candidates to evaluate next.

Each is a function without a state: asked the same, it answers the same, so a study that was killed
goes on as if it had not been.  What a candidate costs is known beforehand, only its accuracy not.
Candidates stand in ascending area, so the smaller number is the cheaper one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .candidates import CandidateField, Observation
from .front import slabs
from .gp import Belief, believe, believe_log, excess, imagine

_Floats = NDArray[np.float64]
Worth = Callable[[Belief, list[int]], tuple[_Floats, float]]

#: Evaluations before a surrogate is fitted.
START = 4
#: Added to a ratio or a loss before its logarithm is taken: none at all is as good as a small one.
RATIO_FLOOR, LOSS_FLOOR = 0.1, 0.01
#: A surrogate's search ends where no candidate promises this share of the best area (of a front:
#: of the hypervolume that there could be).
NEGLIGIBLE = 1e-4


@dataclass(frozen=True)
class Question:
    """What is asked: n of what is left. area (n,), features (n, f): of all. seen : in history."""

    history: Sequence[Observation]
    pending: Sequence[int]
    left: Sequence[int]
    n: int
    seed: int
    area: _Floats
    features: _Floats
    seen: list[int]


@dataclass(frozen=True)
class Optimiser:
    """A row of the table. what : in words. choose : the best of what is left first, [] to stop."""

    what: str
    choose: Callable[[Question], list[int]]

    def ask(
        self,
        field: CandidateField,
        history: Sequence[Observation],
        pending: Sequence[int],
        closed: Set[int],
        n: int,
        seed: int,
    ) -> list[int]:
        """At most n numbers to evaluate next, the most promising first; [] ends the search.

        None is in history, pending (asked for, no answer yet) or closed (out for another reason).
        Of several observations of one candidate the last counts.
        """
        last = {observation.number: observation for observation in history}
        left = [c.number for c in field.candidates if c.number not in {*last, *pending, *closed}]
        if not left:
            return []
        own = np.random.default_rng((seed, len(history) + len(pending))).integers(2**31)
        area = np.array([c.area for c in field.candidates])
        features = np.array([c.features for c in field.candidates])
        seen, known = [*last], [*last.values()]
        return self.choose(Question(known, pending, left, n, int(own), area, features, seen))[:n]


def front_optimiser(field: CandidateField, objectives: Sequence[str]) -> Optimiser:
    """For a front of accuracy and other `objectives` (rows of `front.SENSES`), not for one goal."""
    known = [name for name in objectives if name != "accuracy"]
    costs = np.array([[getattr(c, name) for name in known] for c in field.candidates])
    choose = partial(_best, prepare=partial(_hypervolume_gain, costs=costs))
    return Optimiser("GPyOpt: expected gain in hypervolume", choose)


def _walk(question: Question) -> list[int]:
    best = min((question.area[o.number] for o in question.history if o.ratio <= 1), default=np.inf)
    return [number for number in question.left if question.area[number] < best]


def _spread(question: Question) -> list[int]:
    """Each as far as can be from the others, in features and in its place by area."""
    places = np.linspace(0, 1, len(question.area))
    points = np.column_stack([question.features, places])
    taken, left = [*question.seen, *question.pending], np.array(question.left)
    for _ in range(min(question.n, len(left))):
        far = -np.abs(places[left] - 0.5)
        if taken:
            far = np.linalg.norm(points[left, None] - points[taken], axis=2).min(axis=1)
        taken.append(int(left[np.argmax(far)]))
        left = left[left != taken[-1]]
    return taken[len(question.seen) + len(question.pending) :]


def _best(question: Question, prepare: Callable[[Question], tuple[Belief, Worth]]) -> list[int]:
    """The candidates of most worth, each as if those before had given what is expected of them.

    prepare : what is believed, and the worth of each candidate by a belief and what is on its way;
    beside it what is not worth it any more.
    """
    if len(question.seen) < 2 or len(question.seen) + len(question.pending) < START:
        return _spread(question)
    belief, worth = prepare(question)
    belief, left, chosen = imagine(belief, question.pending), list(question.left), list[int]()
    while left and len(chosen) < question.n:
        values, least = worth(belief, [*question.pending, *chosen])
        number = left.pop(int(np.argmax(values[left])))
        if values[number] <= least:
            break
        chosen.append(number)
        belief = imagine(belief, [number])
    return chosen


def _gain(question: Question) -> tuple[Belief, Worth]:
    """Gain in area x chance to keep the limit, over what seems to keep it and is thought to.

    (Gardner et al., "Bayesian Optimization with Inequality Constraints", ICML 2014, with a known
    objective.)  Until there is such a candidate all have a gain, and the search does not end.
    """
    from scipy.special import stdtr

    ratios, errors = np.array([[o.ratio, o.error] for o in question.history]).T
    seeming = [o.number for o in question.history if o.ratio <= 1]
    area, limit = question.area, np.log(1 + RATIO_FLOOR)

    def worth(belief: Belief, coming: list[int]) -> tuple[_Floats, float]:
        kept = [number for number in seeming + coming if belief.mean[number] <= limit]
        best = area[kept].min() if kept else 2 * area.max() - area.min()
        chance = stdtr(belief.degrees, (limit - belief.mean) / belief.deviation)
        return (best - area) * chance, NEGLIGIBLE * best if kept else -np.inf

    known = question.features, question.seen, ratios, errors
    return believe_log(*known, RATIO_FLOOR, question.seed), worth


def _improvement(question: Question) -> tuple[Belief, Worth]:
    """Expected improvement of area + penalty: the textbook's way with a constraint."""
    from scipy.special import ndtr

    ratios, errors = np.array([[o.ratio, o.error] for o in question.history]).T
    span = np.ptp(question.area)
    cost = question.area[question.seen] + span * np.maximum(ratios - 1, 0)
    errors = span * errors * (ratios > 1)

    def worth(belief: Belief, coming: list[int]) -> tuple[_Floats, float]:
        best = min([*cost, *belief.mean[coming]])
        z = (best - belief.mean) / belief.deviation
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        least = NEGLIGIBLE * best if np.any(ratios <= 1) else -np.inf
        return belief.deviation * (z * ndtr(z) + density), least

    return believe(question.features, question.seen, cost, errors, question.seed), worth


def _hypervolume_gain(question: Question, costs: _Floats) -> tuple[Belief, Worth]:
    """Expected gain in hypervolume, where the costs (n, objectives) are known.

    What was seen is on the front with its mean, as its accuracy may be luck.
    """
    losses, errors = np.array([[1 - o.accuracy, o.accuracy_error] for o in question.history]).T
    span, top = np.ptp(costs, axis=0), 1 + LOSS_FLOOR
    limit = costs.max(axis=0) + np.where(span > 0, 0.01 * span, 1.0)  # so that the dearest counts
    least = NEGLIGIBLE * float(np.prod(limit - costs.min(axis=0)))

    def worth(belief: Belief, coming: list[int]) -> tuple[_Floats, float]:
        taken = question.seen + coming
        levels, volumes = slabs(costs, taken, top - np.exp(belief.mean[taken]), limit)
        return np.sum(volumes * excess(belief, top, levels), axis=1), least

    known = question.features, question.seen, losses, errors
    return believe_log(*known, LOSS_FLOOR, question.seed), worth


def _sampled(question: Question, sampler: str) -> list[int]:
    """The candidates nearest to what a sampler of Optuna proposes, in a study of the history."""
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.trial import FrozenTrial, TrialState, create_trial

    features, left, chosen = question.features, list(question.left), list[int]()
    axes = range(features.shape[1])
    space: dict[str, BaseDistribution] = {str(i): FloatDistribution(0.0, 1.0) for i in axes}

    def trial(number: int, state: TrialState, **told: Any) -> FrozenTrial:
        params = dict(zip(space, features[number].tolist(), strict=True))
        return create_trial(state=state, params=params, distributions=space, **told)

    before = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=question.seed))
        for o in question.history:
            told = {"value": question.area[o.number], "constraints": {"ratio": o.ratio - 1}}
            study.add_trial(trial(o.number, TrialState.COMPLETE, **told))
        for number in question.pending:
            study.add_trial(trial(number, TrialState.RUNNING))
        while left and len(chosen) < question.n:
            asked = study.ask(space)
            study.tell(asked, state=TrialState.FAIL)  # the candidate beside it runs instead
            point = [asked.params[name] for name in space]
            number = left.pop(int(np.argmin(np.linalg.norm(features[left] - point, axis=1))))
            study.add_trial(trial(number, TrialState.RUNNING))
            chosen.append(number)
    finally:
        optuna.logging.set_verbosity(before)
    return chosen


OPTIMISERS = {
    "gpyopt": Optimiser("GPyOpt: gain in area x chance of it", partial(_best, prepare=_gain)),
    "walk": Optimiser("in ascending area until one keeps the goals", _walk),
    "gpyopt-penalty": Optimiser(
        "GPyOpt: expected improvement of area + penalty", partial(_best, prepare=_improvement)
    ),
    "tpe": Optimiser("Optuna's Parzen estimator", partial(_sampled, sampler="TPESampler")),
    "gp": Optimiser("Optuna's Gaussian process", partial(_sampled, sampler="GPSampler")),
    "random": Optimiser(
        "in random order", lambda q: np.random.default_rng(q.seed).permutation(q.left).tolist()
    ),
    "grid": Optimiser("all, in ascending area", lambda q: list(q.left)),
}

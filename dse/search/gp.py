"""The one door to GPyOpt: what noisy values of some candidates say about all of them.

Of GPyOpt only `GPModel` is used: it is archived, its loops repeat points or end, and numpy 2 broke
its batches.  GPyOpt and GPy draw from numpy's global generator and change filters of warnings; both
are as they were when a function of this module returns.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

#: Starts of the fit. One is deterministic; three found nothing sooner (benchmarks/bench_search.py).
RESTARTS = 1
MOST_STEPS = 200
LEAST_ERROR = 1e-4  # of the values' spread, for those that are known exactly


class Belief(NamedTuple):
    """What is thought of a quantity. mean : (n,). covariance : (n, n), of candidates, not noise.

    error : standard error of one more value. degrees : of freedom, of its Student's t.
    """

    mean: _Floats
    covariance: _Floats
    error: float
    degrees: int

    @property
    def deviation(self) -> _Floats:
        """(n,): standard deviation of each."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance), 1e-18))


def believe(
    features: _Floats, seen: Sequence[int], values: _Floats, errors: _Floats, seed: int
) -> Belief:
    """What the values of the candidates `seen` say about all.

    features : (n, f), 0..1 each. seen : m numbers of candidates. values, errors : (m,), the errors
    being their known standard errors. seed : of GPyOpt's draws.

    GPyOpt fits one length scale a feature, and how much candidates differ beyond what features can
    say: noise to a fit, but as true of a candidate as the rest, so it is part of the covariance.
    """
    centre, spread = float(values.mean()), float(values.std()) or 1.0
    scaled = (values - centre) / spread
    known = np.maximum(errors / spread, LEAST_ERROR) ** 2
    covariance = _fitted(features, features[list(seen)], scaled, known, seed)
    belief = Belief(
        np.zeros(len(features)), covariance, float(np.median(known)) ** 0.5, len(seen) - 1
    )
    mean, covariance, error, degrees = _condition(belief, seen, scaled, known)
    return Belief(centre + spread * mean, spread**2 * covariance, spread * error, degrees)


def believe_log(
    features: _Floats,
    seen: Sequence[int],
    values: _Floats,
    errors: _Floats,
    floor: float,
    seed: int,
) -> Belief:
    """The same of ln(value + floor): losses span decades, and protection divides them.

    floor : so small a loss that none at all would be as good.
    """
    level = np.maximum(values, 0) + floor
    return believe(features, seen, np.log(level), errors / level, seed)


def imagine(belief: Belief, numbers: Sequence[int]) -> Belief:
    """The belief if the candidates `numbers`, on their way, give just what is expected of them.

    So a batch needs no new fit ("kriging believer": Ginsbourger, Le Riche and Carraro 2010).
    """
    noise = np.full(len(numbers), belief.error**2)
    return _condition(belief, numbers, belief.mean[list(numbers)], noise)


def excess(belief: Belief, top: float, levels: _Floats) -> _Floats:
    """(n, m): by how much top - exp(what is believed) is expected to exceed each level, or 0.

    It is the price of a put option (Black and Scholes 1973) at the strike top - level > 0.
    """
    from scipy.special import ndtr

    mean, deviation, strike = belief.mean[:, None], belief.deviation[:, None], top - levels
    d = (np.log(strike) - mean) / deviation
    value: _Floats = strike * ndtr(d) - np.exp(mean + deviation**2 / 2) * ndtr(d - deviation)
    return value


def _condition(belief: Belief, numbers: Sequence[int], values: _Floats, noise: _Floats) -> Belief:
    """The belief given values of the candidates `numbers`, of known variance."""
    some = list(numbers)
    part = belief.covariance[:, some]
    gain = np.linalg.solve(part[some] + np.diag(noise), part.T).T
    mean = belief.mean + gain @ (values - belief.mean[some])
    return belief._replace(mean=mean, covariance=belief.covariance - gain @ part.T)


def _fitted(
    features: _Floats, points: _Floats, values: _Floats, known: _Floats, seed: int
) -> _Floats:
    """The prior covariance (n, n) of all candidates that explains the values at the points best."""
    with _own_randomness(seed), warnings.catch_warnings():
        # Overflows of trial steps and what numpy 2 finds old; others' warnings are still shown.
        warnings.filterwarnings("ignore", module=r"(GPyOpt|GPy|paramz|pkg_resources)\b")
        from GPy.core.parameterization.priors import LogGaussian
        from GPy.kern import Matern52, WhiteHeteroscedastic
        from GPyOpt.models.gpmodel import GPModel

        # A dozen values do not say how long length scales are: the prior of Hvarfner, Hellsten and
        # Nardi, "Vanilla Bayesian Optimization Performs Great in High Dimensions" (ICML 2024).
        n = points.shape[1]
        middle, width = math.sqrt(2) + math.log(n) / 2, math.sqrt(3)
        smooth = Matern52(n, lengthscale=math.exp(middle), ARD=True)
        smooth.lengthscale.set_prior(LogGaussian(middle, width), warning=False)
        smooth.variance.set_prior(LogGaussian(0.0, 1.0), warning=False)
        errors = WhiteHeteroscedastic(n, len(points), known)
        errors.variance.fix(warning=False)
        model = GPModel(
            smooth + errors,
            noise_var=0.01,
            optimize_restarts=RESTARTS,
            max_iters=MOST_STEPS,
            verbose=False,
        )
        model.updateModel(points, values[:, None], None, None)
        fitted = model.model
        own = float(fitted.Gaussian_noise.variance[0])
        covariance: _Floats = fitted.kern.parts[0].K(features) + own * np.eye(len(features))
    return covariance


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, and give it back as it was."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002

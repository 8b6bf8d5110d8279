"""Wrong bytes of the activation memory: wrong for all that is loaded, until they are stored."""

from hypothesis import given, settings

from flexhyca.simulator.inject.fault_run import FaultRun
from flexhyca.simulator.inject.sites import parse_site
from flexhyca.tests.fuzz.fault_plans import dense_sites, failure
from flexhyca.tests.simulator.inject.random_sites import random_sites
from flexhyca.tests.simulator.inject.test_fault_run import cases
from flexhyca.tests.support import ACTIVATIONS, machines


@settings(max_examples=150, deadline=None)
@given(cases(machines(activations=ACTIVATIONS)))
def test_both_executions_agree(case):
    program, image, rng = case
    faults = FaultRun(program, image)
    only = [("buffer", "activation")]
    for _ in range(3):
        sites = random_sites(faults, rng, int(rng.integers(1, 6)), registers=only)
        assert sites
        assert failure(faults, image, sites) is None, sites
        for site in sites:
            assert parse_site(str(site)) == site
        plan = dense_sites(faults, rng)
        assert failure(faults, image, plan) is None, plan

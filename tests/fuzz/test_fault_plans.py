"""Dense plans of faults: both executions agree, in whatever order the faults are given."""

import pytest

from flexhyca.tests.fuzz.fault_plans import attack


def test_dense_plans():
    found = attack(400, number=0)
    assert found.failing == []
    assert found.plans == 400
    assert found.sites > 3000


@pytest.mark.slow
def test_many_dense_plans():
    for number in range(1, 21):
        found = attack(1000, number)
        assert found.failing == []

"""Windows of any geometry: refused in one line, or right in everything that follows."""

import pytest

from flexhyca.tests.fuzz.windows import attack


def test_windows():
    seen = attack(60, 0)
    assert seen["equal to onnxruntime"] > 10


@pytest.mark.slow
def test_many_windows():
    seen = attack(3000, 1000)
    assert seen["equal to onnxruntime"] > 500

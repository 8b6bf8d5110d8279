"""Windows of any geometry: refused in one line, or right in everything that follows."""

from flexhyca.tests.fuzz.windows import attack


def test_windows():
    seen = attack(60, 0)
    assert seen["equal to onnxruntime"] > 10

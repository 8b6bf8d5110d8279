"""Values that are always zero, constant, tiny or huge are quantised, and none is refused."""

from hypothesis import given
from hypothesis import strategies as st

from flexhyca.tests.fuzz.flat_ranges import attack, attempt


def _check(count: int, first: int) -> None:
    seen = attack(count, first)
    assert not [what for what in seen if what.startswith("refused")]
    assert seen["zero"] > 0.1 * count
    assert seen["far"] < 0.05 * count  # such as a grey that lies between two steps of the input


def test_flat_ranges():
    _check(150, 0)


@given(st.integers(0, 2**40))
def test_every_layer_is_what_its_scales_say(seed):
    """In float64, on the images of calibration and on others; `attempt` holds the layers to it."""
    assert not attempt(seed).startswith("refused")

"""Adds of values whose scales lie any distance apart, against exact fractions."""

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from flexhyca.compiler.quantise.search import alignment
from flexhyca.config import choices
from flexhyca.network.fixedpoint import add, limits


@given(
    apart=st.integers(0, 80),
    steps=st.integers(-40, 100),
    bits=st.integers(2, 8),
    rounding=st.sampled_from(choices("arithmetic.rounding")),
    data=st.data(),
)
@example(apart=17, steps=9, bits=8, rounding="half_up", data=None)
@example(apart=60, steps=30, bits=8, rounding="floor", data=None)
def test_a_sum_is_what_its_scales_say(apart, steps, bits, rounding, data):
    """Up to 2**16 apart it is exact before it is rounded, beyond right to a quarter of a step."""
    lo, hi = limits(bits)
    found = alignment(apart, steps, bits)
    pairs = [(q, r) for q in (lo, -1, 0, 1, hi) for r in (lo, -1, 0, 1, hi)]
    if data is not None:
        pairs.append((data.draw(st.integers(lo, hi)), data.draw(st.integers(lo, hi))))
    for coarse, fine in pairs:
        real = (Fraction(coarse) * 2**apart + fine) / Fraction(2) ** found.steps
        real = min(max(real, Fraction(lo)), Fraction(hi))
        got = int(add(coarse, fine, found.coarse, found.fine, found.right, bits, rounding))
        # What is within a quarter of real, rounded: half a step off, or a whole one down.
        slack = Fraction(0) if apart <= 16 else Fraction(1, 4)
        below, above = (1, 0) if rounding == "floor" else (Fraction(1, 2), Fraction(1, 2))
        assert real - below - slack <= got <= real + above + slack
        assert lo <= got <= hi


@given(st.integers(0, 80), st.integers(-40, 100), st.integers(2, 8))
def test_shifts_fit_the_layer_table(apart, steps, bits):
    found = alignment(apart, steps, bits)
    assert all(0 <= shift <= 16 for shift in found[1:])
    if apart <= 16:
        assert (found.coarse - found.fine, found.right - found.fine) == (apart, found.steps)

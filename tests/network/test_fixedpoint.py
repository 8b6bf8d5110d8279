"""The fixed-point rules against their definitions, bit by bit."""

from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import choices
from flexhyca.network import fixedpoint as fx

bits_ = st.integers(2, 8)
acc_bits_ = st.integers(16, 32)


def accumulators(draw, acc_bits):
    half = 1 << (acc_bits - 1)
    values = st.one_of(st.integers(-half, half - 1), st.sampled_from([-half, half - 1, -1, 0]))
    return draw(values)


@given(st.integers(-(2**62), 2**62), st.integers(2, 32))
def test_wrap_keeps_the_low_bits(value, bits):
    out = int(fx.wrap(value, bits))
    assert (out - value) % (1 << bits) == 0
    assert fx.limits(bits)[0] <= out <= fx.limits(bits)[1]


@settings(max_examples=500)
@given(st.data(), bits_, acc_bits_, st.sampled_from(choices("arithmetic.rounding")))
def test_slice_keeps_the_named_bits(data, bits, acc_bits, rounding):
    acc = accumulators(data.draw, acc_bits)
    shift = data.draw(st.integers(0, acc_bits - bits))
    out = int(fx.requantise(acc, shift, bits, rounding, "slice"))
    named = (acc >> shift) & ((1 << bits) - 1)  # bits [shift+bits-1 : shift]
    kept = named - (1 << bits) if named >> (bits - 1) else named
    up = rounding == "half_up" and shift > 0 and acc >> (shift - 1) & 1
    top = (1 << (bits - 1)) - 1
    assert out == (kept if not up or kept == top else kept + 1)


@settings(max_examples=500)
@given(st.data(), bits_, acc_bits_, st.sampled_from(choices("arithmetic.rounding")))
def test_saturate_rounds_exactly_and_clamps(data, bits, acc_bits, rounding):
    acc = accumulators(data.draw, acc_bits)
    shift = data.draw(st.integers(0, acc_bits - bits))
    out = int(fx.requantise(acc, shift, bits, rounding, "saturate"))
    exact = (2 * acc + (2**shift if rounding == "half_up" and shift else 0)) // 2 ** (shift + 1)
    lo, hi = fx.limits(bits)
    assert out == min(max(exact, lo), hi)


@given(st.integers(-128, 127), st.integers(0, 16))
def test_both_rules_agree_where_the_value_fits(value, shift):
    acc = value << shift
    for rounding in choices("arithmetic.rounding"):
        for overflow in choices("arithmetic.overflow"):
            assert int(fx.requantise(acc, shift, 8, rounding, overflow)) == value


def test_rounding_never_turns_127_into_minus_128():
    assert int(fx.requantise((127 << 8) + 255, 8, 8, "half_up", "slice")) == 127


def test_slicing_drops_upper_bits_where_saturation_clamps():
    acc = (1 << 20) + (5 << 7)  # an upper-bit flip on the value 5
    assert int(fx.requantise(acc, 7, 8, "half_up", "slice")) == 5
    assert int(fx.requantise(acc, 7, 8, "half_up", "saturate")) == 127

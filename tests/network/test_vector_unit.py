"""The vector unit in torch and in numba equals the one in NumPy, whatever is configured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic, choices
from flexhyca.network import fixedpoint, fixedpoint_torch
from flexhyca.network.fixedpoint import REQUANTISED
from flexhyca.network.fixedpoint_kernels import (
    finish,
    finish_marked,
    finish_of,
    finish_row,
    signed,
)
from flexhyca.network.layers import Layer, LayerOp
from flexhyca.network.upsets import Marks


@st.composite
def units(draw):
    """Arithmetic and a layer of any operation, with any shifts that its words allow."""
    act_bits, acc_bits = draw(st.integers(2, 8)), draw(st.integers(16, 32))
    a = Arithmetic(
        act_bits=act_bits,
        acc_bits=acc_bits,
        rounding=draw(st.sampled_from(choices("arithmetic.rounding"))),
        overflow=draw(st.sampled_from(choices("arithmetic.overflow"))),
    )
    low = draw(st.integers(-128, 127))
    layer = Layer(
        "layer",
        draw(st.sampled_from(LayerOp)),
        0,
        1,
        shift=draw(st.integers(0, acc_bits - act_bits)),
        lshift_a=draw(st.integers(0, 16)),
        lshift_b=draw(st.integers(0, 16)),
        add_shift=draw(st.integers(0, 16)),
        act_lo=low,
        act_hi=draw(st.integers(low, 127)),
    )
    return a, layer


def some(rng, bits, count):
    """Numbers of `bits` bits: any, and those around 0, around steps and at both ends."""
    low, high = fixedpoint.limits(bits)
    near = (1 << rng.integers(0, bits, count)) * rng.choice([-1, 1], count)
    near += rng.integers(-1, 2, count)
    found = np.concatenate([rng.integers(low, high + 1, count), near, [low, high, 0, -1, 1]])
    return found.clip(low, high)


@given(st.integers(2, 32), st.integers(-(1 << 62), 1 << 62))
def test_sums_on_their_way_wrap_alike(bits, value):
    assert signed(value, bits) == fixedpoint.wrap(value, bits)


@settings(max_examples=400)
@given(units(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_three_twins(unit, adds, damaged, seed):
    a, layer = unit
    rng = np.random.default_rng(seed)
    kinds = ["int8"]
    if REQUANTISED[layer.op]:
        kinds = ["int32", "float32"]
    for kind in kinds:
        values = some(rng, {"int8": 8, "int32": 32, "float32": 24}[kind], 40)
        count = len(values)
        residual = some(rng, 8, count)[:count] if adds else None
        masks = (np.zeros(count, np.int32), np.zeros(count, np.int32))
        if damaged:
            hit = rng.random(count) < 0.5
            masks = tuple(
                (rng.integers(0, 1 << bits, count) * hit).astype(np.uint32).view(np.int32)
                for bits in (a.acc_bits, a.act_bits)
            )
        wanted = fixedpoint.vector_unit(values, layer, a, residual, masks)
        assert wanted.min() >= layer.act_lo
        assert wanted.max() <= layer.act_hi
        at = np.arange(count)
        marks = tuple(Marks(at, mask) for mask in masks) if damaged else (None, None)
        own = torch.from_numpy(values.astype(kind))
        other = None if residual is None else torch.from_numpy(residual.astype(np.int8))
        got = fixedpoint_torch.vector_unit(own, layer, a, other, marks)
        assert got.dtype == torch.int8
        np.testing.assert_array_equal(got.numpy(), wanted, err_msg=f"torch, {kind}")
        out, f = np.empty(count, np.int8), finish_of(layer, a)
        other = np.zeros(0, np.int8) if residual is None else residual.astype(np.int8)
        finish(values.astype(kind), other, out, f)
        if damaged and REQUANTISED[layer.op]:
            finish_marked(values.astype(kind), other, out, f, at, *masks)
        np.testing.assert_array_equal(out, wanted, err_msg=f"numba, {kind}")
        assert finish_row(np.array(f, np.int32)) == f
    event(f"{layer.op.name}, residual: {adds}, damaged: {damaged}")


@given(units(), st.integers(0, 2**32 - 1))
def test_sums_beyond_32_bits(unit, seed):
    a, layer = unit[0], replace(unit[1], op=LayerOp.CONV)
    values = some(np.random.default_rng(seed), 41, 20)
    wanted = fixedpoint.vector_unit(values, layer, a)
    for kind in ("int64", "float64"):
        own = torch.from_numpy(values.astype(kind))
        got = fixedpoint_torch.vector_unit(own, layer, a).numpy()
        np.testing.assert_array_equal(got, wanted, err_msg=kind)


@given(units(), st.integers(0, 2**32 - 1))
def test_losses_are_what_the_rules_change(unit, seed):
    """A wrap changes the sum; a slice that cuts bits off gives another value than rounding down."""
    a, layer = unit
    sums = some(np.random.default_rng(seed), 34, 20)
    lost = fixedpoint_torch.Losses()
    lost.count(torch.from_numpy(sums), layer, a)
    assert lost.wraps == (fixedpoint.wrap(sums, a.acc_bits) != sums).sum()
    floor = sums >> layer.shift
    cut = (fixedpoint.wrap(floor, a.act_bits) != floor).sum()
    assert lost.overflows == (cut if a.overflow == "slice" else 0)

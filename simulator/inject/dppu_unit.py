"""Registers of the DPPU in a tile with faults: stepped one by one, or corrected exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...isa.protection import protected_columns
from ...isa.registers import DPPU_UNITS
from ...network.arrays import I8, I64
from ..array.flips import Flip
from ..dppu.schedule import shape_of
from ..dppu.unit import DppuUnit
from ..text.spans import Span, Spans


class DppuPart(NamedTuple):
    """What a DPPU instruction finds. act : (m, k). wgt : (n, k). bias : (n,).

    positions : (neurons, 2), the entries of its table; a row of -1 is none.
    """

    act: I8
    wgt: I8
    bias: I64
    positions: I64


def run_dppu(
    parts: Sequence[DppuPart],
    flips: Sequence[Flip],
    spans: Spans,
    span: Span,
    unit: str,
    stepped: bool,
) -> tuple[I64, I64]:
    """Sums of a tile's neurons, and positions (neurons, 2) that they are written to.

    parts : of the reduction. Positions outside the tile are left out by the caller.
    """
    config, first = spans.program.config, parts[0]
    shape, neurons = shape_of(config, unit == DPPU_UNITS[1]), len(first.positions)
    lengths = [part.act.shape[1] for part in parts]
    dppu = DppuUnit(shape)
    steps = dppu.cycles(lengths, neurons)
    shift = spans.program.network.layers[span.layer].shift
    machine: dict[str, Any] = {
        "arithmetic": spans.program.network.arithmetic,
        # Damaged instructions may make the tile shorter than that of the sites.
        "flips": [
            f for f in flips if f.step < steps and f.row < shape.places(f.register, neurons)[0]
        ],
        "protected": protected_columns(config, shift, unit),
        "voter": config.protection.voter,
        "parts": lengths,
    }
    columns = first.positions[:, 1]
    there = (columns >= 0) & (columns < len(first.bias))
    start = np.where(there, first.bias[np.where(there, columns, 0)], 0)
    run = dppu.step if stepped else dppu.correct
    return run(
        np.concatenate([part.act for part in parts], 1),
        np.concatenate([part.wgt for part in parts], 1),
        start.astype(np.int64),
        np.stack([part.positions for part in parts]),
        **machine,
    )

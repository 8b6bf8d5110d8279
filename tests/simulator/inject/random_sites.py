"""Random fault sites in anything that a machine stores, biased to where they matter."""

import numpy as np

from flexhyca.isa.instructions import BY_NAME, KeptMemory
from flexhyca.isa.registers import BUFFER_BYTES, BY_UNIT, Register
from flexhyca.simulator.inject.fault_plan import copies_of
from flexhyca.simulator.inject.sites import (
    ALL,
    END,
    EVERY,
    FLIP,
    Site,
    units_of,
)
from flexhyca.simulator.inject.units import moments


def random_sites(run, rng, count, stuck=0.3, registers=None):
    """`count` sites of a FaultRun's program. registers : (unit, name), all that the machine has."""
    spans, found = run.spans, []
    if registers is None:
        units = units_of(run.program.config)
        registers = [(unit, name) for unit in units for name in BY_UNIT[unit]]
    for _ in range(1000):
        if len(found) == count:
            break
        unit, name = registers[rng.integers(len(registers))]
        span = spans.all[rng.integers(len(spans.all))]
        site = _site(run, rng, span, BY_UNIT[unit][name], stuck)
        if site is not None:
            found.append(site)
    return found


def _site(run, rng, span, register: Register, stuck):
    buffer = register.unit == "buffer"
    config = run.program.config if buffer else run.spans.array(span)
    if not span.gemms and (not buffer or register.name == "output"):
        return None
    rows, cols = register.rows(config), register.cols(config)
    if register.name == "instruction":
        if rng.random() < 0.7:  # most end at once, whatever else is wrong
            return None
        rows = span.end - span.begin
    if rows < 1 or cols < 1:
        return None
    row, col = int(rng.integers(rows)), int(rng.integers(cols))
    length = moments(register, span, run.spans)
    if not length:
        return None
    cycle = int(rng.integers(length))
    near = rng.random() < 0.85
    if near and buffer and register.name in BUFFER_BYTES:
        row = _loaded(run, rng, span, register.name, row)
    elif near and buffer and register.name in ("output", "result"):
        row = int(rng.integers(span.m * span.n))
    elif near and not buffer and not register.unit.startswith("dppu"):
        row, col = int(rng.integers(min(rows, span.m))), int(rng.integers(min(cols, span.n)))
        cycle = min(length - 1, row + col + 1 + int(rng.integers(length)))
    if not register.exists(row, col):
        return None
    bit = int(rng.integers(register.bits(run.network.arithmetic)))
    runs, own = copies_of(run.spans, span, register.unit, register.name, bit, col)
    copy = int(rng.integers(runs * own))
    layer, tile = run.program.layer_names[span.layer], span.number
    held, until = FLIP, END
    if rng.random() < stuck:
        held = int(rng.integers(2))
        if rng.random() < 0.5 and cycle + 1 < length:
            until = int(rng.integers(cycle + 1, length + 1))
        elif rng.random() < 0.3 and register.name != "instruction":
            cycle, tile = 0, EVERY
            if rng.random() < 0.5:
                layer, copy = ALL, copy % own
    return Site(layer, tile, cycle, row, col, register.name, bit, copy, register.unit, held, until)


def _loaded(run, rng, span, name, default):
    """A byte of a memory that some LOAD, or STORE, near the tile writes."""
    c = run.program.columns
    if BUFFER_BYTES[name] == KeptMemory.ACTIVATION:
        return _stored(run, rng, span, default)
    loads = np.flatnonzero(
        (c["op"] == BY_NAME["LOAD"].opcode) & (c["buffer"] == BUFFER_BYTES[name])
    )
    if not len(loads):
        return default
    before = loads[loads <= span.end]
    pc = int(rng.choice(before[-4:] if len(before) and rng.random() < 0.8 else loads))
    return int(c["buf_addr"][pc] + rng.integers(c["row_bytes"][pc] * c["count"][pc]))


def _stored(run, rng, span, default):
    stores = run.reads.stores
    if not len(stores.pcs):
        return default
    before = np.flatnonzero(stores.pcs <= span.end)
    near = len(before) and rng.random() < 0.8
    i = int(rng.choice(before[-4:])) if near else int(rng.integers(len(stores.pcs)))
    row = int(rng.integers(stores.rows[i]))
    return int(stores.first[i] + row * stores.stride[i] + rng.integers(stores.row[i]))

"""What docs/machine.md says of tables and addresses, done by hand and held against the machine."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.isa.instructions import Buffer, Engine, Format
from flexhyca.isa.sizes import weight_buffer
from flexhyca.simulator.inject.buffer_faults import Reads
from flexhyca.simulator.text.kernels import decode_positions
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.support import compiled, machines, networks, random_masks


def bit(table: bytes, number: int) -> int:
    return table[number // 8] >> number % 8 & 1


@settings(max_examples=200, deadline=None)
@given(
    st.binary(min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 20),
)
def test_position_tables(table: bytes, n: int, row_bits: int, column_bits: int, count: int) -> None:
    bits = max(1, row_bits + column_bits)
    held = np.frombuffer(table, np.uint8)
    fits = min(count, len(table) * 8 // bits)
    found = decode_positions(held, int(Format.LIST), fits, n, column_bits, bits)
    for i, (row, column) in enumerate(found.tolist()):
        word = sum(bit(table, i * bits + b) << b for b in range(bits))
        assert word == row << column_bits | column
        assert column < 1 << column_bits
    found = decode_positions(held, int(Format.BITMAP), count, n, column_bits, bits)
    there = [divmod(b, n) for b in range(8 * len(table)) if bit(table, b)]
    expected = (there + [(-1, -1)] * count)[:count]
    assert [tuple(entry) for entry in found.tolist()] == expected


@settings(max_examples=40, deadline=None)
@given(machines().flatmap(lambda c: st.tuples(st.just(c), networks(c.arithmetic))))
def test_addresses(case: tuple) -> None:
    """Every operand of every GEMM, by the formulas of the page."""
    config, network = case
    masks = random_masks(network, 0.3, 1) if config.dppu.size else None
    program = compiled(network, config, masks)
    spans = Spans(program)
    reads = Reads(spans)
    rng = np.random.default_rng(0)
    for span in [spans.all[i] for i in rng.permutation(len(spans.all))[:4]]:
        layer = network.layers[span.layer]
        source = network.tensors[layer.input]
        for part, pc in enumerate(span.gemms):
            w = reads._window(Engine.ARRAY, pc)
            depth = w["nky"] * layer.kernel_w * w["kcc"]
            for _ in range(5):
                i, j, c = (int(rng.integers(w[size])) for size in ("rows", "cols", "cc"))
                at = w["a_base"] + (i * w["cols"] + j) * w["cc"] + c
                y, x = w["row0"] + i * w["row_step"], w["col0"] + j * w["col_step"]
                element = (y * source.w + x) * source.c + w["c0"] + c
                found = list(reads._readers(Buffer.IFMAP, at, span))
                assert (Engine.ARRAY, pc, part, "input", (element, 0)) in found
                n, k = int(rng.integers(span.n)), int(rng.integers(depth))
                at = w["b_base"] + (span.n0 + n - w["n_base"]) * depth + k
                first = int(program.columns["k0"][pc]) if program.columns["k"][pc] else 0
                length = int(program.columns["k"][pc]) or depth
                found = list(reads._readers(weight_buffer(config), at, span))
                there = (Engine.ARRAY, pc, part, "weight", (n, k - first)) in found
                assert there == (first <= k < first + length)
                if program.columns["first"][pc]:
                    byte = int(rng.integers(4))
                    at = w["bias_base"] + 4 * (span.n0 + n - w["n_base"]) + byte
                    found = list(reads._readers(weight_buffer(config), at, span))
                    assert (Engine.ARRAY, pc, part, "bias", (n, byte)) in found

"""Position tables: they say what was meant, in the shorter format; the excess is gathered."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.codegen.positions import pack_positions, split_positions
from flexhyca.isa.instructions import Format
from flexhyca.simulator.text.kernels import decode_positions


@st.composite
def tables(draw):
    m, n = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    share = draw(st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return np.argwhere(rng.random((m, n)) < share), m, n


@settings(max_examples=200, deadline=None)
@given(tables())
def test_a_table_decodes_to_the_positions_it_was_made_of(table):
    positions, m, n = table
    column_bits = (64 - 1).bit_length()
    fmt, data = pack_positions(positions, m, n, column_bits, 2 * column_bits)
    raw = np.frombuffer(data, np.uint8)
    again = decode_positions(raw, fmt, len(positions), n, column_bits, 2 * column_bits)
    np.testing.assert_array_equal(again, positions)
    other = (m * n + 7) // 8 if fmt == Format.LIST else (len(positions) * 12 + 7) // 8
    assert len(data) <= other


def test_formats_of_a_32x32_tile():
    positions = np.argwhere(np.arange(1024).reshape(32, 32) < 51)
    assert pack_positions(positions, 32, 32, 5, 10)[0] == Format.LIST
    assert len(pack_positions(positions, 32, 32, 5, 10)[1]) == 64  # 51 x 10 bits
    dense = np.argwhere(np.arange(1024).reshape(32, 32) < 200)
    assert pack_positions(dense, 32, 32, 5, 10)[0] == Format.BITMAP
    assert len(pack_positions(dense, 32, 32, 5, 10)[1]) == 128


def _lines(positions):
    return len(np.unique(positions[:, 0])) + len(np.unique(positions[:, 1]))


@settings(max_examples=200, deadline=None)
@given(tables(), st.integers(0, 60))
def test_the_excess_is_what_does_not_fit(table, capacity):
    positions, m, n = table
    tapped, excess = split_positions(positions, m, n, capacity)
    assert len(tapped) == min(capacity, len(positions))
    together = np.concatenate([tapped, excess])
    order = np.lexsort((together[:, 1], together[:, 0]))
    np.testing.assert_array_equal(together[order], positions)


def test_the_excess_shares_rows_and_columns():
    """Gathering costs far fewer fetches than neurons picked at random."""
    rng = np.random.default_rng(0)
    gathered = arbitrary = 0
    for _ in range(300):
        positions = np.argwhere(rng.random((32, 32)) < 0.06)
        _, excess = split_positions(positions, 32, 32, 52)
        gathered += _lines(excess)
        arbitrary += _lines(rng.permutation(positions)[52:])
    assert gathered < 0.75 * arbitrary


def test_neurons_in_one_column_cost_one_column():
    positions = np.array([(r, 3) for r in range(32)] + [(0, c) for c in range(8, 12)])
    positions = positions[np.lexsort((positions[:, 1], positions[:, 0]))]
    _, excess = split_positions(positions, 32, 32, 30)
    assert len(excess) == 6
    assert len(np.unique(excess[:, 1])) == 1

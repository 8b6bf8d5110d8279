"""What docs/machine.md says of tables and addresses, done by hand and held against the machine."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic
from flexhyca.isa.instructions import Buffer, Engine, Format
from flexhyca.isa.sizes import weight_buffer
from flexhyca.simulator.array.flips import Flip
from flexhyca.simulator.dppu.schedule import DppuShape, dppu_schedule
from flexhyca.simulator.dppu.stepper import dppu_tile
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


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.integers(1, 20),
    st.integers(1, 4),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 9),
    st.booleans(),
)
def test_windows_of_the_dppu(
    parts: list[int], neurons: int, groups: int, width: int, size: int, excess: bool
) -> None:
    """F, B and D of the page, and what follows from them."""
    found = dppu_schedule(parts, neurons, DppuShape(4, 4, groups, width, size, excess))
    sizes = [min(size, k - at) for k in parts for at in range(0, k, size)]
    fill, begin, done = {-1: 0}, {-1: 0}, {-2: 0, -1: 0}
    for w, own in enumerate(sizes):
        fill[w] = max(fill[w - 1] + (sizes[w - 1] if w else 0), done[w - 2])
        begin[w] = done[w - 1] if excess else max(fill[w] + own, done[w - 1])
        done[w] = begin[w] + -(-neurons // groups) * -(-own // width)
    assert [w.begin for w in found.windows] == [begin[w] for w in range(len(sizes))]
    assert found.done == done[len(sizes) - 1]
    k = 0
    for w, own in enumerate(sizes):
        for p in range(own):
            assert found.filled[k] == (begin[w - 1] if excess else fill[w] + p + 1)
            assert found.slot[k] == w % 2 * size + p
            for i in range(neurons):
                step = begin[w] + i // groups * -(-own // width) + p // width
                assert found.reads.of_operands(i // groups)[k] == step
            k += 1


def _dppu(flips: list[Flip], positions: object, excess: bool = False, **more: object) -> tuple:
    """Sums and positions of three entries in a tile of 2x2 on an array of 4x4, eight operands."""
    rng = np.random.default_rng(0)
    act, wgt = (rng.integers(1, 128, (2, 8)).astype(np.int8) for _ in range(2))
    shape, parts = DppuShape(4, 4, 2, 2, 4, excess), (4, 4)
    return (
        act,
        wgt,
        *dppu_tile(
            *(act, wgt, np.zeros(3, np.int64), np.array(positions)),
            **{"dppu": shape, "arithmetic": Arithmetic(), "flips": flips, "parts": parts, **more},
        ),
    )


def test_what_no_part_names_is_not_fetched() -> None:
    """Entry 2 goes to row 1, which another part's table names, or none does."""
    for other, fetched in (((1, 1), True), ((0, 1), False)):
        first, second = [(0, 0), (0, 1), (0, 0)], [(0, 0), (0, 1), other]
        act, wgt, sums, _ = _dppu([], [first, second], excess=True)
        assert sums[2] == act[0, :4] @ wgt[0, :4].astype(int) + (
            act[other[0], 4:] @ wgt[1, 4:].astype(int)
        )
        # In the first part the register is loaded with (0, 0): bit 2 makes row 1 of it.
        hit = [Flip(0, "position", 2, 2, 0, unit="dppu_excess")]
        wrong = _dppu(hit, [first, second], excess=True)[2]
        row = act[1, :4] @ wgt[0, :4].astype(int) if fetched else 0
        assert sums[2] - wrong[2] == act[0, :4] @ wgt[0, :4].astype(int) - row


def test_places_outside_the_tile_are_zero_and_can_be_flipped() -> None:
    outside = [(0, 0), (1, 1), (3, 0)]
    _, wgt, sums, _ = _dppu([], outside)
    assert sums[2] == 0
    hit = Flip(4, "file_act", 3, 1, 5, unit="dppu")
    assert _dppu([hit], outside)[2][2] == 32 * int(wgt[0, 1])


def test_bits_of_a_position() -> None:
    for b in range(4):
        late = Flip(14, "position", 1, b, 0, unit="dppu")  # all is read, nothing is written
        written = _dppu([late], [(0, 0), (1, 1), (0, 1)])[3]
        assert written[1, 0] << 2 | written[1, 1] == (1 << 2 | 1) ^ 1 << b


def test_a_sum_heals_where_nothing_is_added() -> None:
    """Of an entry that waits: two copies are hit one after the other, and both are outvoted."""
    table = [(0, 0), (1, 1), (0, 1)]
    one = Flip(14, "psum", 0, 0, 11, unit="dppu")
    other = one._replace(step=15, copy=1)
    right = _dppu([], table)[2]
    for voter, same in (("feedback", True), ("output", False)):
        options = {"protected": range(10, 24), "voter": voter}
        found = _dppu([one, other], table, **options)[2]
        assert (found[0] == right[0]) == same

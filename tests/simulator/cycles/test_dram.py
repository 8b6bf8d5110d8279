"""The DRAM models: latency and bandwidth, open rows counted by hand, and their equality."""

from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import Dram
from flexhyca.isa.instructions import Kind
from flexhyca.simulator.cycles.dram import FixedDram, OpenRowDram, make_dram
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import crowded, one_conv, small_config


def test_fixed_serves_one_request_after_the_other():
    dram = FixedDram(Dram(bytes_per_cycle=32))
    assert dram.request(10, 0, 64, Kind.IFMAP) == (10, 12)
    assert dram.request(11, 0, 33, Kind.WEIGHT) == (12, 14)  # 33 bytes take two cycles
    assert dram.request(50, 0, 32, Kind.IFMAP, rows=4, stride=100) == (50, 54)
    assert dram.nbytes[Kind.IFMAP] == 64 + 128
    assert dram.busy[Kind.WEIGHT] == 2


def test_a_bandwidth_of_parts_of_a_byte_is_exact():
    dram = FixedDram(Dram(bytes_per_cycle=6.8))
    # 4,096 / 6.8 = 602.4; 68 bytes take ten cycles and not eleven, as with 6.8 in binary
    assert dram.request(0, 0, 4096, Kind.IFMAP) == (0, 603)
    assert dram.request(603, 0, 68, Kind.IFMAP) == (603, 613)
    assert FixedDram(Dram(bytes_per_cycle=0.1)).request(0, 0, 3, Kind.IFMAP) == (0, 30)


def test_runs_bursts_and_requests_in_flight_by_hand():
    # 4 runs of 16 bytes, 100 apart: a cycle each at 16 bytes a cycle, and 4.9 more each: 23.6.
    rows = {"rows": 4, "stride": 100}
    dram = FixedDram(Dram(bytes_per_cycle=16, request_cycles=4.9))
    assert dram.request(0, 0, 16, Kind.OFMAP, **rows) == (0, 24)
    # One after the other they are one run: 4 cycles and 4.9.
    assert dram.request(24, 0, 16, Kind.OFMAP, rows=4, stride=16) == (24, 33)
    # A run of 20 bytes is one burst of 64: 4 x 4 cycles; useful bytes are counted.
    dram = FixedDram(Dram(bytes_per_cycle=16, burst_bytes=64))
    assert dram.request(0, 0, 20, Kind.IFMAP, **rows) == (0, 16)
    assert dram.request(16, 0, 20, Kind.IFMAP, rows=4, stride=20) == (16, 24)
    assert dram.nbytes[Kind.IFMAP] == 160
    # Two runs in flight, 100 cycles each: 4 take 200; a long one is not held up.
    dram = FixedDram(Dram(bytes_per_cycle=16, latency_cycles=100, outstanding=2))
    assert dram.request(0, 0, 16, Kind.IFMAP, **rows) == (0, 200)
    assert dram.request(200, 0, 4096, Kind.IFMAP) == (200, 456)


def test_writes_have_a_channel_of_their_own():
    dram = FixedDram(Dram(bytes_per_cycle=16, duplex=True))
    assert dram.request(0, 0, 160, Kind.IFMAP) == (0, 10)
    assert dram.request(2, 0, 160, Kind.OFMAP) == (2, 12)
    assert dram.request(3, 0, 160, Kind.WEIGHT) == (10, 20)
    assert dram.request(3, 0, 160, Kind.OFMAP) == (12, 22)


def test_open_rows_on_a_pattern_made_by_hand():
    # Two banks, rows of 64 bytes: bytes 0-63 bank 0 row 0, 64-127 bank 1 row 0, 128-191 bank 0
    # row 1. One byte a cycle, 30 cycles to open a row.
    config = Dram(model="openrow", bytes_per_cycle=1, banks=2, row_bytes=64, row_miss_cycles=30)
    dram = make_dram(config)
    assert isinstance(dram, OpenRowDram)
    assert dram.request(0, 0, 10, Kind.IFMAP) == (30, 40)  # miss: bank 0 opens row 0
    assert dram.request(40, 10, 10, Kind.IFMAP) == (40, 50)  # hit
    assert (dram.hits, dram.misses) == (1, 1)
    # Bank 1 opens its row from cycle 41 on, while the channel is busy until 50.
    assert dram.request(41, 64, 10, Kind.IFMAP) == (71, 81)
    assert (dram.hits, dram.misses) == (1, 2)
    assert dram.request(81, 128, 10, Kind.IFMAP) == (111, 121)  # bank 0, another row
    assert dram.request(121, 0, 10, Kind.IFMAP) == (151, 161)  # and back again
    assert (dram.hits, dram.misses) == (1, 4)
    # A read across both banks' open rows hits twice.
    assert dram.request(161, 60, 8, Kind.IFMAP) == (161, 169)
    assert (dram.hits, dram.misses) == (3, 4)
    # Rows of a strided read are looked up one by one: 0, 128 and 256 are three rows of bank 0.
    assert dram.request(200, 0, 4, Kind.IFMAP, rows=3, stride=128) == (260, 272)
    assert (dram.hits, dram.misses) == (4, 6)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 9999), st.integers(1, 500), st.integers(1, 4)),
        max_size=30,
    )
)
def test_one_bank_without_row_effects_equals_fixed(requests):
    fixed = FixedDram(Dram())
    open_row = OpenRowDram(Dram(model="openrow", banks=1, row_miss_cycles=0))
    now = 0
    for wait, address, nbytes, rows in requests:
        now += wait
        args = (now, address, nbytes, Kind.IFMAP, rows, 600)
        assert fixed.request(*args) == open_row.request(*args)
    assert fixed.busy == open_row.busy


def test_whole_runs_are_equal_without_row_effects_and_longer_with_them():
    runs = {}
    for name, miss in (("fixed", 0), ("openrow", 0), ("openrow", 40)):
        config = small_config(
            f"dram.model={name}",
            "dram.banks=1",
            "dram.row_bytes=64",
            f"dram.row_miss_cycles={miss}",
        )
        result = simulate(compile_network(one_conv(), config, crowded(12)), values="none")
        runs[name, miss] = (result.cycles, result.stalls)
    assert runs["fixed", 0] == runs["openrow", 0]
    assert runs["openrow", 40][0] > runs["fixed", 0][0]

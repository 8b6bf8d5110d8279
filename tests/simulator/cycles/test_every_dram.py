"""What every DRAM model has to keep: those of the table, whatever they are.

A model that is added to `simulator.cycles.dram.DRAM_MODELS` is tested here without another line.
"""

import shutil
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import Dram
from flexhyca.config.dram_time import transfer_cycles
from flexhyca.isa.instructions import Kind
from flexhyca.simulator.cycles.compiled import CompiledModel
from flexhyca.simulator.cycles.dram import (
    DRAM_MODELS,
    FixedDram,
    make_channel,
    make_dram,
    request,
)
from flexhyca.simulator.cycles.engines import CycleModel
from flexhyca.tests import support, tables
from flexhyca.tests.support import crowded, one_conv, small_config

KINDS = [int(kind) for kind in Kind]
every_model = pytest.mark.parametrize("model", DRAM_MODELS)


@st.composite
def channels(draw):
    """Settings of a channel, small enough that its requests meet."""
    return {
        "bytes_per_cycle": draw(st.sampled_from([1, 8, 64, 6.8, 0.4, 3.001])),
        "latency_cycles": draw(st.sampled_from([0, 7])),
        "request_cycles": draw(st.sampled_from([0, 2, 4.9])),
        "burst_bytes": draw(st.sampled_from([1, 16, 64])),
        "outstanding": draw(st.sampled_from([0, 1, 4])),
        "duplex": draw(st.booleans()),
        "banks": draw(st.sampled_from([1, 2, 5])),
        "row_bytes": draw(st.sampled_from([64, 256])),
        "row_miss_cycles": draw(st.sampled_from([0, 30])),
    }


#: Cycles since the last request, address, bytes of a row, kind, rows, stride.
requests = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.integers(0, 5000),
        st.integers(1, 600),
        st.sampled_from(KINDS),
        st.integers(1, 4),
        st.integers(0, 900),
    ),
    max_size=25,
)


def served(channel, asked):
    """(now, request, start, finish) of each request."""
    now = 0
    for wait, address, nbytes, kind, rows, stride in asked:
        now += wait
        yield (
            now,
            (address, nbytes, kind, rows, stride),
            *channel.request(now, address, nbytes, kind, rows, stride),
        )


@every_model
@settings(max_examples=60)
@given(channels(), requests)
def test_one_request_after_the_other_at_the_bandwidth(model, values, asked):
    free = {True: 0, False: 0}
    for now, (_, nbytes, kind, rows, stride), start, finish in served(
        make_dram(Dram(model=model, **values)), asked
    ):
        apart = values["duplex"] and kind == Kind.OFMAP
        assert start >= max(now, free[apart])
        runs = [nbytes * rows] if stride == nbytes else [nbytes] * rows
        bandwidth, own = (
            Fraction(str(values[name])) for name in ("bytes_per_cycle", "request_cycles")
        )
        moved = sum(ceil(Fraction(run, values["burst_bytes"])) for run in runs)
        cycles = ceil(moved * values["burst_bytes"] / bandwidth + len(runs) * own)
        if values["outstanding"]:
            waits = Fraction(len(runs) * values["latency_cycles"], values["outstanding"])
            cycles = max(cycles, ceil(waits))
        assert finish - start == cycles
        free[apart] = finish


@every_model
@settings(max_examples=60)
@given(channels(), requests)
def test_accounts_are_those_of_the_requests(model, values, asked):
    channel = make_dram(Dram(model=model, **values))
    busy, nbytes = [0] * len(Kind), [0] * len(Kind)
    for _, (_, size, kind, rows, _), start, finish in served(channel, asked):
        busy[kind] += finish - start
        nbytes[kind] += size * rows
        assert channel.free[channel.port(kind)] == finish
    assert (channel.busy, channel.nbytes) == (busy, nbytes)


@every_model
@settings(max_examples=60)
@given(channels(), requests, st.integers(1, 600), st.integers(0, 300))
def test_more_bytes_take_no_less_time(model, values, asked, nbytes, more):
    ends = []
    for size in (nbytes, nbytes + more):
        channel = make_dram(Dram(model=model, **values))
        list(served(channel, asked))
        ends.append(channel.request(2000, 128, size, Kind.IFMAP)[1])
    assert ends[0] <= ends[1]


@every_model
@settings(max_examples=60)
@given(channels(), requests)
def test_kinds_are_for_the_accounts_only_and_a_channel_remembers_nothing_else(model, values, asked):
    config = Dram(model=model, **{**values, "duplex": False})
    times = [row[2:] for row in served(make_dram(config), asked)]
    alike = [(*r[:3], int(Kind.WEIGHT), *r[4:]) for r in asked]
    assert [row[2:] for row in served(make_dram(config), alike)] == times


@every_model
@settings(max_examples=60)
@given(channels(), requests)
def test_the_kernel_gives_the_same_times_and_accounts(model, values, asked):
    config = Dram(model=model, **values)
    reference, channel = make_dram(config), make_channel(config)
    for now, own, start, finish in served(reference, asked):
        assert request(channel, now, *own) == (start, finish)
    assert channel.moved["busy"].tolist() == reference.busy
    assert channel.moved["nbytes"].tolist() == reference.nbytes


@every_model
@settings(max_examples=60)
@given(channels(), requests)
def test_a_request_takes_what_the_configuration_says_it_does(model, values, asked):
    # For mappers, which count many transfers at once: numbers and arrays of them, alike.
    config = Dram(model=model, **values)
    rows = list(served(make_dram(config), asked))
    runs = [1 if r[1][4] == r[1][1] else r[1][3] for r in rows]
    nbytes = [r[1][1] * r[1][3] // count for r, count in zip(rows, runs, strict=True)]
    cycles = transfer_cycles(config, np.array(nbytes, np.int64), np.array(runs, np.int64))
    assert cycles.tolist() == [r[3] - r[2] for r in rows]


@every_model
@settings(max_examples=60)
@given(channels(), requests)
def test_a_write_channel_of_its_own_makes_no_request_later(model, values, asked):
    if DRAM_MODELS[model].channel is not FixedDram:  # else other rows are open
        return
    both = [make_dram(Dram(model=model, **{**values, "duplex": d})) for d in (False, True)]
    for common, apart in zip(*(served(channel, asked) for channel in both), strict=True):
        assert apart[3] <= common[3]


@every_model
def test_both_cycle_models_run_it(model):
    config = small_config(
        f"dram.model={model}", "dram.banks=2", "dram.row_bytes=64", "dram.bytes_per_cycle=1"
    )
    program = compile_network(one_conv(), config, crowded(12))
    reference, fast = CycleModel(program), CompiledModel(program)
    assert fast.run() == reference.run()
    assert (fast.spent, fast.nbytes, fast.kind_bytes) == (
        reference.spent,
        reference.nbytes,
        reference.kind_bytes,
    )


def test_a_kernel_that_does_not_know_a_model_says_so():
    channel = make_channel(Dram())
    channel.state["model"] = max(row.code for row in DRAM_MODELS.values()) + 1
    with pytest.raises(Exception, match="request has no branch for this model"):
        request(channel, 0, 0, 64, 0, 1, 0)


def test_codes_are_different():
    assert len({row.code for row in DRAM_MODELS.values()}) == len(DRAM_MODELS)


#: A model that opens a row for every request, in the two files of docs/adding.md.
_CODE = max(row.code for row in DRAM_MODELS.values()) + 1
_CLOSED = [
    tables.choice("dram.model", "closed"),
    (
        "simulator/cycles/dram.py",
        "class DramModel(",
        '''class ClosedDram(FixedDram):
    """Every request opens its row."""

    def __init__(self, config: Dram) -> None:
        super().__init__(config)
        self.miss_cycles = config.row_miss_cycles

    def _start(
        self, now: int, free: int, address: int, nbytes: int, rows: int, stride: int
    ) -> int:
        return max(now, free) + self.miss_cycles


class DramModel(''',
    ),
    (
        "simulator/cycles/dram.py",
        "DRAM_MODELS: dict[str, DramModel] = {\n",
        f'DRAM_MODELS: dict[str, DramModel] = {{\n    "closed": DramModel({_CODE}, ClosedDram),\n',
    ),
    (
        "simulator/cycles/dram.py",
        "_BRANCHES = {",
        f'_BRANCHES = {{"closed": {_CODE}, ',
    ),
    (
        "simulator/cycles/dram.py",
        "    else:\n        raise InternalError(",
        f"    elif channel.model == {_CODE}:\n"
        "        start = max(now, free) + channel.miss_cycles\n"
        "    else:\n        raise InternalError(",
    ),
]


@pytest.mark.slow
def test_a_third_model_is_a_value_of_the_schema_and_one_module(tmp_path: Path) -> None:
    copy = tables.copy_of_package(tmp_path, _CLOSED)
    tests = copy / "flexhyca" / "tests"
    tests.mkdir()
    for path in (support.__file__, tables.__file__, __file__):
        shutil.copy(path, tests)
    shutil.copy(tables.ROOT / "tests" / "conftest.py", tests)
    (copy / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    suite = f"flexhyca/tests/{Path(__file__).name}"
    options = ("-c", "pytest.ini", "--import-mode=importlib", "-m", "not slow")
    done = tables.run(copy, "-m", "pytest", "-q", *options, suite)
    count = 8 * (len(DRAM_MODELS) + 1) + 2
    assert f"{count} passed" in done.stdout, done.stdout + done.stderr

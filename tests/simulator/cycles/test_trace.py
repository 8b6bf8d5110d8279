"""The recorder: every engine's slices tile the run, the channel's carry its bytes."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import load_config
from flexhyca.errors import FlexhycaError
from flexhyca.isa.instructions import Engine, Kind
from flexhyca.simulator.cycles.engines import CycleModel
from flexhyca.simulator.cycles.occupancy import COUNTERS, leases, levels
from flexhyca.simulator.cycles.trace import Recorder, check_traceable
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import ACTIVATIONS, machines, programs


class Watched(CycleModel):
    """A model that looks, whenever an instruction ends, whether its recorder is at that cycle."""

    def _post(self, engine, pc, delay=0):
        assert self.recorder.engines[engine].end == self.clock.now
        super()._post(engine, pc, delay)


@settings(max_examples=60, deadline=None)
@given(programs())
def test_the_slices_of_every_engine_tile_the_run(program):
    recorder = Recorder()
    model = Watched(program, recorder=recorder)
    model.run()
    layer_of = program.debug_layer
    for engine in Engine:
        track, at = recorder.engines[engine], 0
        sums = [dict.fromkeys(states, 0) for states in model.spent[engine]]
        for pc, state, start, cycles in zip(
            track.pcs, track.states, track.starts, track.cycles, strict=True
        ):
            assert start == at
            assert cycles > 0
            sums[layer_of[pc]][state] += cycles
            at += cycles
        assert at == model.cycles
        assert sums == model.spent[engine]


@settings(max_examples=60, deadline=None)
@given(programs())
def test_the_channel_moves_one_thing_at_a_time(program):
    recorder = Recorder()
    model = CycleModel(program, recorder=recorder)
    model.run()
    nbytes = [[0] * len(Kind) for _ in program.layers]
    busy = [0] * len(Kind)
    bandwidth = Fraction(str(program.config.dram.bytes_per_cycle))
    for channel in (recorder.channel, recorder.writes):
        at = 0
        for pc, kind, start, cycles, count in zip(
            channel.pcs, channel.states, channel.starts, channel.cycles, channel.nbytes, strict=True
        ):
            assert start >= at
            at = start + cycles
            nbytes[program.debug_layer[pc]][Kind[kind.upper()]] += count
            busy[Kind[kind.upper()]] += cycles
            assert 0 < count <= cycles * bandwidth
        assert at <= model.cycles + program.config.dram.latency_cycles
    assert set(recorder.writes.states) <= {"ofmap"}
    assert not program.config.dram.duplex or "ofmap" not in recorder.channel.states
    assert nbytes == model.nbytes
    assert busy == model.dram.busy


@settings(max_examples=60, deadline=None)
@given(programs(machines(activations=ACTIVATIONS)))
def test_the_activation_memory_moves_one_thing_at_a_time(program):
    recorder = Recorder()
    model = CycleModel(program, recorder=recorder)
    model.run()
    nbytes = [[0] * len(Kind) for _ in program.layers]
    width, at, port = program.config.buffers.activation_bytes_per_cycle, 0, recorder.activations
    for pc, kind, start, cycles, count in zip(
        port.pcs, port.states, port.starts, port.cycles, port.nbytes, strict=True
    ):
        assert start >= at
        at = start + cycles
        nbytes[program.debug_layer[pc]][Kind[kind.upper()]] += count
        assert 0 < count <= cycles * width
    assert at <= model.cycles
    assert nbytes == model.kept_bytes
    assert {*port.states} <= {"ofmap", "ifmap", "dppu_operand"}
    kept = program.tensors[:, 3] >= program.config.activation_base
    stored = kept[program.column("output")] * program.tensors[program.column("output"), :3].prod(1)
    assert [row[Kind.OFMAP] for row in nbytes] == (program.batch * stored).tolist()


@settings(max_examples=60, deadline=None)
@given(programs())
def test_buffers_never_overflow_and_end_empty(program):
    recorder = Recorder()
    CycleModel(program, recorder=recorder).run()
    b, words = program.config.buffers, program.config.output_words
    limits = {
        "ifmap buffer": b.ifmap_bytes,
        "weight buffer": b.weight_bytes,
        "position buffer": b.position_bytes,
        "scratchpad": b.scratchpad_bytes,
        "activation memory": b.activation_bytes,
        "output buffer": words,
        "residual slots": words,
        "DPPU backlog": int(program.columns["count"].sum()),
    }
    courses = levels(leases(program), recorder)
    assert list(courses) == list(COUNTERS) == list(limits)
    for name, (times, values) in courses.items():
        assert (times[1:] > times[:-1]).all()
        assert (values >= 0).all()
        assert (values <= limits[name]).all(), name
        assert not len(values) or values[-1] == 0, name
    # Everything that is loaded, and every tile, is in use at some time.
    found = list(leases(program))
    loads = program.columns["row_bytes"] * program.columns["count"]
    first = {"scratchpad": 0} if b.scratchpad_bytes else {"ifmap buffer": 0, "weight buffer": 1}
    names = {**first, "position buffer": 2}
    is_load = program.columns["op"] == 1
    for name, buffer in names.items():
        own = is_load & (program.columns["buffer"] == buffer)
        used, loaded = sum(x.amount for x in found if x.counter == name), loads[own].sum()
        # What is fetched again for the runs of a redundant layer lies where it lay.
        again = program.config.protection.redundancy == "time_refetch"
        assert used <= loaded if again else used == loaded
    stores = int((program.columns["op"] == 2).sum())
    assert sum(x.counter == "output buffer" for x in found) == stores


@settings(max_examples=30, deadline=None)
@given(programs(), st.booleans())
def test_a_recorder_changes_no_number(program, progress):
    done = []
    told = (lambda cycle, layer: done.append(layer)) if progress else None
    traced = simulate(program, values="none", recorder=Recorder(), progress=told)
    plain = simulate(program, values="none")
    assert traced.layers.equals(plain.layers)
    assert (traced.cycles, traced.stalls, traced.busy, traced.dram) == (
        *(plain.cycles, plain.stalls, plain.busy, plain.dram),
    )
    assert len(done) == (plain.layers["tiles"].sum() if progress else 0)


def test_the_published_count_has_no_trace():
    with pytest.raises(FlexhycaError) as error:
        check_traceable(load_config(overrides=["timing=scalesim"]))
    assert str(error.value) == (
        "a trace needs timing 'native': SCALE-Sim's count knows no engines over time"
    )

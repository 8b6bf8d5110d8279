"""The trace file: valid by the rules of the format, and equal to the stall table."""

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca import api
from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.model import load_model
from flexhyca.compiler.shapes import shapes_of
from flexhyca.config import load_config
from flexhyca.isa.instructions import Engine, Kind
from flexhyca.report import trace
from flexhyca.simulator.cycles.occupancy import COUNTERS
from flexhyca.simulator.cycles.stalls import BUSY, STALLS
from flexhyca.simulator.cycles.trace import Recorder
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import one_conv, programs, small_config

KINDS = [kind.name.lower() for kind in Kind]
DRAM = "DRAM bytes per cycle"


def traced(program):
    recorder = Recorder()
    return simulate(program, values="none", recorder=recorder), recorder


def check_format(events, config):
    """What the Trace Event Format asks of M, X and C events, and Perfetto of X ones: no overlap."""
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    processes = {e["pid"] for e in events if e["name"] == "process_name"}
    ends = defaultdict(int)
    counters = defaultdict(lambda: -1)
    for event in events:
        assert event["ph"] in "MXC"
        assert isinstance(event["name"], str)
        assert event["pid"] in processes
        assert isinstance(event["args"], dict)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name", "thread_sort_index")
            continue
        assert type(event["ts"]) is int
        assert event["ts"] >= 0
        if event["ph"] == "C":
            assert all(type(v) in (int, float) and v >= 0 for v in event["args"].values())
            assert event["ts"] >= counters[event["name"]]
            counters[event["name"]] = event["ts"]
            continue
        assert (event["pid"], event["tid"]) in named
        assert type(event["dur"]) is int
        assert event["dur"] > 0
        assert event["ts"] >= ends[event["tid"]]
        ends[event["tid"]] = event["ts"] + event["dur"]
    assert {tid for _, tid in named} == set(range(1, len(trace.tracks(config)) + 1))


def check_numbers(events, result):
    """Slices and counters against the tables of the result."""
    layers = result.layers.to_dict("records")
    spent, moved, kept = Counter(), Counter(), Counter()
    tracks = trace.tracks(result.program.config)
    ends = dict.fromkeys(range(1, len(tracks) + 1), 0)
    for event in events:
        if event["ph"] != "X":
            continue
        args, track = event["args"], tracks[event["tid"] - 1]
        on_chip = track == trace.ACTIVATION_MEMORY
        channel = on_chip or track in (trace.DRAM_CHANNEL, trace.DRAM_WRITES)
        if not channel:  # without gap
            assert event["ts"] == ends[event["tid"]]
        ends[event["tid"]] = event["ts"] + event["dur"]
        if channel:
            (kept if on_chip else moved)[args["layer"], event["name"]] += args["bytes"]
        elif track != trace.LAYERS:
            spent[track, args["layer"], args["reason"]] += event["dur"]
    names = [name for name, number in Counter(layer["name"] for layer in layers).items()]
    assert len(names) == len(layers)  # so names stand for layers here
    for layer in layers:
        for engine in Engine:
            name = engine.name.lower()
            for state in (BUSY, *STALLS[engine]):
                cycles = layer["busy"][name] if state == BUSY else layer["stalls"][name][state]
                assert spent[engine.name, layer["name"], state] == cycles
        for kind in KINDS:
            assert moved[layer["name"], kind] == layer["dram_bytes"][kind]
            assert kept[layer["name"], kind] == layer["activation_bytes"][kind]
    for tid in range(1, len(trace.TRACKS)):
        assert ends[tid] == result.cycles


def check_counters(events, result):
    """Traffic over time is the traffic; what is occupied is given back."""
    last, sums, before = {}, dict.fromkeys(KINDS, 0.0), None
    for event in events:
        if event["ph"] != "C":
            continue
        last[event["name"]] = event["args"]
        if event["name"] == DRAM:
            if before is not None:
                for kind, rate in before["args"].items():
                    sums[kind] += rate * (event["ts"] - before["ts"])
            before = event
    assert set(last) == {DRAM, *COUNTERS}
    assert all(value == 0 for values in last.values() for value in values.values())
    assert before["ts"] == result.cycles
    for kind in KINDS:
        assert sums[kind] == pytest.approx(result.dram[kind], abs=1e-5 * result.cycles + 1e-6)


@settings(max_examples=40, deadline=None)
@given(programs(), st.data())
def test_a_trace_is_valid_and_adds_up(program, data):
    result, recorder = traced(program)
    every = list(range(len(program.layer_names)))
    detail = data.draw(st.one_of(st.just(every), st.just([]), st.sets(st.sampled_from(every))))
    events = list(trace.events(result, recorder, set(detail)))
    check_format(events, result.program.config)
    check_numbers(events, result)
    check_counters(events, result)
    drawn = [e for e in events if e["ph"] == "X" and e["tid"] > 1]
    channel = max(e["ts"] + e["dur"] for e in drawn if e["tid"] == len(trace.TRACKS))
    assert channel == recorder.channel.end  # rolled up or not: gaps keep their place
    for event in drawn:
        rolled_up = "pc" not in event["args"]
        assert rolled_up == (program.layer_names.index(event["args"]["layer"]) not in detail)
    if not detail:
        keys = [(e["tid"], e["args"]["layer"], e["name"]) for e in drawn]
        assert len(keys) == len(set(keys))  # one slice for each engine, layer and state
    if len(detail) == len(every):
        assert len(drawn) == trace.slice_count(recorder)


def test_slices_are_named_by_layer_and_tile():
    result, recorder = traced(compile_network(one_conv(), small_config()))
    events = list(trace.events(result, recorder, {0}))
    array = [e for e in events if e["ph"] == "X" and e["tid"] == trace.TRACKS.index("ARRAY") + 1]
    gemms = [e for e in array if e["args"]["instruction"] == "GEMM" and e["cat"] == "busy"]
    assert [e["name"] for e in gemms] == [f"conv {i}" for i in range(1, 33)]
    first = gemms[0]
    assert first["args"] == {
        "pc": first["args"]["pc"],
        "instruction": "GEMM",
        "layer": "conv",
        "tile": 1,
        "reason": "busy",
    }
    assert any(e["name"] == "conv 1: operands" and e["cat"] == "stall" for e in array)
    assert [e["name"] for e in events if e["ph"] == "X" and e["tid"] == 1] == ["conv"]


@pytest.mark.parametrize("compress", [False, True])
def test_the_file_is_one_json_object(tmp_path: Path, compress: bool):
    result, recorder = traced(compile_network(one_conv(), small_config()))
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        trace.write_trace(path, result, recorder, {0}, compress)
    raw = paths[0].read_bytes()
    assert raw == paths[1].read_bytes()
    assert raw.startswith(b"\x1f\x8b") == compress
    found = json.loads(gzip.decompress(raw) if compress else raw)
    assert set(found) == {"displayTimeUnit", "otherData", "traceEvents"}
    assert found["otherData"]["time"] == "1 microsecond is 1 cycle"
    assert found["otherData"]["cycles"] == result.cycles
    assert found["otherData"]["tiles_of"] == "all layers"
    assert found["traceEvents"] == list(trace.events(result, recorder, {0}))


def test_a_trace_with_too_many_slices_is_rolled_up(monkeypatch: pytest.MonkeyPatch):
    _, recorder = traced(compile_network(one_conv(), small_config()))
    assert trace.default_detail(recorder, 1) == {0}
    monkeypatch.setattr(trace, "MOST_SLICES", trace.slice_count(recorder) - 1)
    assert trace.default_detail(recorder, 1) == set()


def test_counters_that_change_too_often_keep_their_peaks(monkeypatch: pytest.MonkeyPatch):
    result, recorder = traced(compile_network(one_conv(), small_config()))
    whole = [e for e in trace.events(result, recorder, set()) if e["ph"] == "C"]
    monkeypatch.setattr(trace, "INTERVALS", 7)
    monkeypatch.setattr(trace, "MOST_CHANGES", 0)
    events = list(trace.events(result, recorder, set()))
    check_format(events, result.program.config)
    check_counters(events, result)
    thin = [e for e in events if e["ph"] == "C"]
    for name in COUNTERS:
        values = [
            [e["args"][COUNTERS[name]] for e in es if e["name"] == name] for es in (whole, thin)
        ]
        assert max(values[0]) == max(values[1])
        assert len(values[1]) <= 7 + 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_large_networks_stay_below_the_limit(name, tmp_path: Path):
    config = load_config()
    shapes = shapes_of(load_model(name), config.arithmetic)
    masks = api.select_important(api.place_neurons(shapes, "clustered"), shapes, config)
    result, recorder = traced(api.compile(shapes, config, masks))
    detail = trace.default_detail(recorder, len(shapes.layers))
    assert bool(detail) == (name == "resnet50")
    trace.write_trace(tmp_path / "out.json", result, recorder, detail, compress=False)
    events = json.loads((tmp_path / "out.json").read_text())["traceEvents"]
    assert sum(e["ph"] == "X" for e in events) <= trace.MOST_SLICES + len(shapes.layers)
    assert sum(e["ph"] == "C" for e in events) <= len(COUNTERS) * (trace.MOST_CHANGES + 1) + (
        trace.INTERVALS + 1
    )
    check_format(events, result.program.config)
    check_numbers(events, result)
    check_counters(events, result)

"""Random faults of the machine: exposure, what a fault is called, both executions of a campaign."""

import collections

import numpy as np
import pytest

from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign.estimates import Tally
from flexhyca.faults.campaign.statistics import share
from flexhyca.faults.machine import experiment as machine_faults
from flexhyca.faults.machine.experiment import MachineFaults
from flexhyca.faults.machine.outcomes import (
    OUTCOMES,
    STAGES,
    outcome,
    output_hash,
)
from flexhyca.faults.machine.part import Part
from flexhyca.faults.machine.population import Population, strata, stuck_site
from flexhyca.faults.models import FAULT_MODELS, MACHINE_MODELS
from flexhyca.faults.story.explain import explain
from flexhyca.isa.program_file import save
from flexhyca.isa.protection import copies, protected_columns
from flexhyca.isa.registers import BY_UNIT
from flexhyca.simulator.dppu.schedule import dppu_schedule, shape_of
from flexhyca.simulator.inject.fault_plan import make_plan
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import Site, parse_site
from flexhyca.simulator.inject.units import all_places, moments, unit_in_tile
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.support import (
    MACHINES,
    OVERLAP,
    STATIONARY,
    compiled,
    one_conv,
    one_conv_on,
    random_inputs,
    small_config,
)

FLIPS = tuple(name for name in MACHINE_MODELS if FAULT_MODELS[name].fault == "flip")


@pytest.fixture
def files(tmp_path):
    config = small_config("protection.nb_th=1", "protection.s_th=0.2")
    network = one_conv(h=4, n=4)
    masks = {0: np.arange(64).reshape(4, 4, 4) % 5 == 0}
    program = compiled(network, config, masks)
    save(program, tmp_path / "p.fhx")
    np.save(tmp_path / "i.npy", random_inputs(network, 3, 0))
    return program, tmp_path / "p.fhx", tmp_path / "i.npy"


@pytest.mark.parametrize("model", MACHINE_MODELS)
@pytest.mark.parametrize("live", [False, True])
def test_executions_of_a_campaign_agree(files, model, live):
    _, program, images = files
    fast, slow = (
        MachineFaults(program, images, 7, 2, execution, model, live, 3)
        for execution in ("delta", "reference")
    )
    for a, b in zip(fast.run(range(12)), slow.run(range(12)), strict=True):
        assert a["output_hash"] == b["output_hash"]
        assert a["outcome"].partition(":")[0] == b["outcome"].partition(":")[0]
        assert {k: a[k] for k in ("image", "sites")} == {k: b[k] for k in ("image", "sites")}
    again = MachineFaults.from_spec(fast.spec())
    assert again.run([5, 3]) == [fast.run([5])[0], fast.run([3])[0]]
    assert all(row.keys() == {"index", *fast.columns} for row in again.run([0]))


def test_accuracy_with_and_without_faults(files, tmp_path):
    program, path, images = files
    golden = [int(np.argmax(FaultRun(program, x).golden)) for x in np.load(images)]
    labels = tmp_path / "labels.npy"
    np.save(labels, np.array([golden[0], golden[1], golden[2] + 1]))
    part = Part(units=("array",))
    experiment = MachineFaults(path, images, 0, 3, model="stuck", labels=labels, part=part)
    rows = MachineFaults.from_spec(experiment.spec()).run(range(200))
    assert {row["golden_correct"] for row in rows if row["image"] < 2} == {1}
    assert {row["golden_correct"] for row in rows if row["image"] == 2} == {0}
    wrong = [row for row in rows if row["image"] < 2 and not row["correct"]]
    assert wrong
    assert {row["outcome"] for row in wrong} <= {"sdc1", "sdc5", "hang", "crash"}
    tally = Tally(experiment.quantities, 0)
    for row in rows:
        tally.add(row)
    found = {e.name: e.interval for e in tally.estimates()}
    right = sum(row["correct"] for row in rows)
    assert found["accuracy"] == share(right, 200, 0)
    change = found["accuracy minus fault-free"]
    assert change.difference
    without = sum(row["golden_correct"] for row in rows)
    assert change.estimate == pytest.approx((right - without) / 200)
    (row,) = MachineFaults(path, images, 0).run([0])
    assert (row["golden_correct"], row["correct"]) == (None, None)


def test_fault_free_runs_that_find_no_room_are_made_again(files, monkeypatch):
    _, program, images = files
    rows = MachineFaults(program, images, 1).run(range(20))
    size = MachineFaults(program, images, 1)
    size.run([0])
    (golden,) = size._golden.values()
    monkeypatch.setattr(machine_faults, "_KEPT_BYTES", golden.nbytes)
    few = MachineFaults(program, images, 1)
    assert few.run(range(10)) + few.run(range(10, 20)) == rows
    assert len(few._golden) == 1


@pytest.mark.parametrize("model", FLIPS)
@pytest.mark.parametrize("live", [False, True])
def test_sites_are_drawn_by_exposure(files, model, live):
    program, *_ = files
    spans = Spans(program)
    population, rng = Population(spans, model, live), np.random.default_rng(0)
    sites = [population.draw(rng) for _ in range(2000)]
    for site in sites:
        make_plan([site], spans)  # all exist
    weights = collections.Counter()
    for row in population.strata:
        weights[row.unit, row.register] += row.exposure * (row.live if live else 1)
    found = collections.Counter((site.unit, site.register) for site in sites)
    assert found.keys() <= weights.keys()
    for key, weight in weights.items():
        share = weight / sum(weights.values())
        spread = np.sqrt(share * (1 - share) / len(sites))
        assert abs(found[key] / len(sites) - share) <= 4.5 * spread
    assert {row.register for row in strata(spans)} >= {site.register for site in sites}


def test_live_draws_hit_something_that_is_used(files):
    """What is drawn as live changes a sum more often than what is drawn from everything."""
    program, _, images = files
    run, rng = FaultRun(program, np.load(images)[0]), np.random.default_rng(1)
    for model in ("register", "memory"):
        idle = []
        for live in (False, True):
            population = Population(run.spans, model, live)
            results = [run.run([population.draw(rng)]).masked for _ in range(200)]
            idle.append(results.count("idle") / len(results))
        assert idle[1] < 0.6 * idle[0]
        assert 0.02 < population.live_share < 0.9


def test_live_steps_are_those_in_which_a_flip_reaches_a_sum():
    network = one_conv(h=2, n=3)
    network.weights[0][:] = np.where(network.weights[0] == 0, 1, network.weights[0])
    program = compiled(network, small_config(base="base-32x32"), None)
    image = np.full((2, 2, network.tensors[0].c), 3, np.int8)
    run = FaultRun(program, image)
    span = run.spans.all[0]
    for unit in ("array", "skew"):
        for register in BY_UNIT[unit].values():
            rows, cols = register.rows(program.config), register.cols(program.config)
            places = all_places(register, rows, cols)
            tile_unit = unit_in_tile(unit, span, run.spans)
            reached = used = 0
            for row, col in places.tolist():
                for step in range(0, moments(register, span, run.spans), 5):
                    site = Site("conv", 0, step, row, col, register.name, 0, unit=unit)
                    hit = any(len(h.elements) for h in run.run([site]).hits)
                    stretches = tile_unit.stretches(register, row, col)
                    live = any(first <= step <= last for first, last in stretches)
                    assert live or not hit, site
                    reached, used = reached + hit, used + live
            # Operands of the padding are 0: some flips of the other operand change nothing.
            assert reached > 0.2 * used
            if register.name in ("prod", "acc"):
                assert reached == used


@pytest.mark.parametrize("overlaps", ["false", "true"])
@pytest.mark.parametrize("dataflow", STATIONARY)
def test_idle_steps_of_stationary_arrays_change_nothing(dataflow, overlaps):
    config = small_config(
        f"array.dataflow={dataflow}",
        f"array.{OVERLAP[dataflow]}={overlaps}",
        "dppu.size=0",
        "protection.s_th=0",
    )
    program = compiled(one_conv(h=3, c=5, n=3), config, None)
    run = FaultRun(program, random_inputs(program.network, 1, 3)[0])
    span, rng = run.spans.all[0], np.random.default_rng(0)
    for unit in (f"array_{dataflow}", f"skew_{dataflow}"):
        for register in BY_UNIT[unit].values():
            for _ in range(80):
                row = int(rng.integers(register.rows(config)))
                col = int(rng.integers(register.cols(config)))
                if not register.exists(row, col):
                    continue
                stretches = unit_in_tile(unit, span, run.spans).stretches(register, row, col)
                step = int(rng.integers(moments(register, span, run.spans)))
                site = Site("conv", 0, step, row, col, register.name, 0, unit=unit)
                if not any(first <= step <= last for first, last in stretches):
                    assert run.run([site]).masked == "idle", site


def live_slots(register, work, schedule, positions):
    """The live (row, column, step) of a register of the DPPU, one by one."""
    found, name, shape = set(), register.name, schedule.shape
    last = {}
    for step, group, neuron, first, count in schedule.slices():
        if name in ("act", "wgt"):
            found |= {(group, lane, step + 1) for lane in range(count)}
        elif name == "prod" or name.startswith("tree"):
            stage = 0 if name == "prod" else int(name[4:])
            found |= {(group, node, step + 2 + stage) for node in range(shape.nodes(stage))}
        else:
            line = positions[neuron, 0 if name == "file_act" else 1]
            for k in range(first, first + count):
                last[line, k] = max(step, last.get((line, k), 0))
    if name.startswith("file"):
        for (line, k), step in last.items():
            place = (line, schedule.slot[k])
            place = place if name == "file_act" else place[::-1]
            found |= {(*place, t) for t in range(schedule.filled[k], step + 1)}
    if name in ("psum", "position"):
        cols = shape.position_bits if name == "position" else 1
        steps = range(schedule.loads[0], work.steps)
        found = {(i, c, t) for i in range(work.neurons) for c in range(cols) for t in steps}
    return found


@pytest.mark.parametrize("unit", ["dppu", "dppu_excess"])
def test_live_steps_of_the_dppu(unit):
    config = small_config("dppu.width=2", "dppu.window=7", "dppu.size=4")
    network = one_conv(h=3, c=5, n=3)
    program = compiled(network, config, {0: np.arange(27).reshape(3, 3, 3) % 5 != 0})
    run, rng = FaultRun(program, random_inputs(network, 1, 3)[0]), np.random.default_rng(0)
    span = run.spans.all[0]
    work = run.spans.dppu(span, unit == "dppu_excess")
    assert work.neurons
    shape = shape_of(config, unit == "dppu_excess")
    schedule = dppu_schedule(work.parts, work.neurons, shape)
    positions = run.spans.decode(work.pcs[0], run.spans.table(work.pcs[0]))
    for register in BY_UNIT[unit].values():
        rows, cols = register.rows(config), register.cols(config)
        if not rows or not cols:
            continue
        live = unit_in_tile(unit, span, run.spans)
        slots = live_slots(register, work, schedule, positions)
        assert live.total(register) == len(slots), register.name
        assert {live.draw(register, rng) for _ in range(200)} <= slots, register.name
        for _ in range(60):
            place = int(rng.integers(rows)), int(rng.integers(cols))
            step = int(rng.integers(work.steps))
            if (*place, step) not in slots and place[0] < (work.neurons if cols == 1 else rows):
                site = Site("conv", 0, step, *place, register.name, 0, unit=unit)
                assert run.run([site]).masked in ("idle", "tmr"), site


def test_protected_columns():
    config = small_config("protection.nb_th=2", "protection.q_scale=4")
    assert list(protected_columns(config, 7)) == [13, 14]
    assert copies(config, 7, "acc", 14) == copies(config, 7, "prod", 14) == 3
    assert copies(config, 7, "acc", 15) == copies(config, 7, "act", 7) == 1
    saturate = small_config("protection.nb_th=2", "arithmetic.overflow=saturate")
    assert list(protected_columns(saturate, 7)) == list(range(13, 24))
    direct = small_config(
        "protection.nb_th=2", "protection.q_scale=4", "protection.pe_policy=direct"
    )
    assert list(protected_columns(direct, 7)) == list(range(10, 24))
    none = small_config("protection.nb_th=0", "protection.pe_policy=none")
    assert not protected_columns(none, 7)


def test_names_of_outcomes():
    golden = np.array([9, 8, 7, 6, 5, 4, 3], np.int8)
    assert outcome(golden, golden, "idle") == "masked:idle"
    assert outcome(golden, np.array([9, 8, 7, 6, 5, 4, 2], np.int8), None) == "changed"
    assert outcome(golden, np.array([8, 9, 7, 6, 5, 4, 3], np.int8), None) == "sdc1"
    assert outcome(golden, np.array([-9, 8, 7, 6, 5, 4, 3], np.int8), None) == "sdc5"
    assert outcome(golden[:3], np.array([-9, 8, 7], np.int8), None) == "sdc1"  # no first five
    assert outcome(golden, np.array([9, 9, 7, 6, 5, 4, 3], np.int8), None) == "changed"
    assert output_hash(golden) != output_hash(golden[::-1])
    assert set(OUTCOMES) == {"crash", "hang", "sdc5", "sdc1", "changed"}
    assert outcome(golden, golden, None, "hang") == "hang"


def test_the_story_of_a_flip(files):
    program, _, images = files
    run = FaultRun(program, np.load(images)[0])
    for cycle in (0, 30):
        for register, bit in (("acc", 23), ("acc", 5), ("acc", 15), ("act", 6)):
            site = Site("conv", 0, cycle, 0, 0, register, bit)
            lines = list(explain(run, [site], run.run([site])))
            assert lines[0] == str(site)
            assert lines[1].startswith("tile 0 of conv: pixels 0..")
            stage = lines[-1].partition("(")[2].partition(")")[0]
            assert stage in STAGES or lines[-1].partition(":")[0] in OUTCOMES


STORIES = {
    "tile=0,cycle=3,word=40,reg=ifmap,bit=6": ("ARRAY reads it at pc", "idle"),
    "tile=0,cycle=0,word=20,reg=weight,bit=6": ("ARRAY reads it at pc", "nothing reads"),
    "tile=0,word=0,reg=position,bit=3,unit=buffer": ("DPPU reads it at pc",),
    "tile=0,cycle=0,word=1,reg=output,bit=20": ("sum(s) differ",),
    "tile=0,word=1,reg=result,bit=6": ("stored value(s) differ",),
    "tile=0,word=0,reg=instruction,bit=4": ("becomes nothing", "crash"),
    "tile=0,cycle=20,row=0,col=0,reg=psum,bit=20,unit=dppu": ("sum(s) differ", "no sum"),
}


@pytest.mark.parametrize("text", STORIES)
def test_the_story_of_a_fault_elsewhere(files, text):
    program, _, images = files
    run = FaultRun(program, np.load(images)[0])
    sites = [parse_site(f"layer=conv,{text}")]
    result = run.run(sites)
    lines = "\n".join(explain(run, sites, result))
    assert any(part in lines for part in STORIES[text]), lines
    last = lines.splitlines()[-1]
    stage = last.partition("(")[2].partition(")")[0]
    assert stage in STAGES or last.partition(":")[0] in OUTCOMES


@pytest.mark.parametrize("kind", MACHINES)
def test_all_that_is_drawn_exists(kind):
    """Every machine has its population; both executions agree on what is drawn from it."""
    program, image = one_conv_on(kind, 3)
    run, rng = FaultRun(program, image), np.random.default_rng(0)
    for model in MACHINE_MODELS:
        for live in (False, True):
            population = Population(run.spans, model, live)
            for _ in range(12):
                site = population.draw(rng)
                if model == "stuck":
                    site = stuck_site(site, rng, run.spans, 1 + int(rng.integers(3)))
                assert parse_site(str(site)) == site
                outcome, end = run.run([site]), run_reference(program, run.image, [site])
                assert outcome.failure == end.failure, site
                np.testing.assert_array_equal(outcome.output, end.output, str(site))


def test_a_machine_without_what_is_asked_for(files):
    program, *_ = files
    with pytest.raises(FlexhycaError, match="unit 'array_ws' is not in this machine; use array, "):
        make_plan([Site("conv", 0, 0, 0, 0, "psum", 0, unit="array_ws")], Spans(program))

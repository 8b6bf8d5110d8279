"""Bits that are stuck for ever: each bit of the hardware once, of registers and memories apart."""

import collections

import numpy as np
import pytest

from flexhyca.config import choices
from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign.estimates import Tally
from flexhyca.faults.campaign.statistics import clustered, weighted
from flexhyca.faults.machine.experiment import MachineFaults
from flexhyca.faults.machine.part import EVERYTHING, Part
from flexhyca.faults.machine.physical import Hardware
from flexhyca.isa.program_file import save
from flexhyca.isa.registers import BY_UNIT, REGISTERS
from flexhyca.simulator.inject.fault_plan import make_plan
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import ALL, EVERY, Site, units_of
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.support import (
    MACHINES,
    compiled,
    one_conv,
    one_conv_on,
    random_inputs,
    small_config,
)


@pytest.fixture
def program():
    config = small_config("protection.nb_th=1", "protection.ib_th=1", "protection.s_th=0.2")
    masks = {0: np.arange(64).reshape(4, 4, 4) % 5 == 0}
    return compiled(one_conv(h=4, n=4), config, masks)


@pytest.fixture
def files(program, tmp_path):
    save(program, tmp_path / "p.fhx")
    np.save(tmp_path / "i.npy", random_inputs(program.network, 6, 0))
    np.save(tmp_path / "l.npy", np.arange(6))
    return tmp_path / "p.fhx", tmp_path / "i.npy", tmp_path / "l.npy"


def test_every_bit_of_the_hardware_counts_once(program):
    spans, config = Spans(program), program.config
    found = {kind: Hardware(spans, kind, EVERYTHING) for kind in ("register", "memory")}
    rows = {(row.units[0], row.register.name): row for row in found["register"].strata}
    # A PE of the 4x4 array: act and wgt 8 bits, prod 16, acc 24; bit 14 of both sums has copies.
    assert len(rows["array", "act"].places) == 16
    assert rows["array", "act"].count(False) == 16 * 8
    copies = [
        rows["array", name].count(False) - 16 * bits for name, bits in (("prod", 16), ("acc", 24))
    ]
    assert all(extra > 0 and extra % 32 == 0 for extra in copies)
    # Two groups of four lanes, one set of registers for taps and excess.
    assert rows["dppu", "act"].units == ("dppu", "dppu_excess")
    assert rows["dppu", "act"].count(False) == 8 * 8
    assert not any(unit == "dppu_excess" and BY_UNIT[unit][name].shared for unit, name in rows)
    memory = {row.register.name: row.count(False) for row in found["memory"].strata}
    assert memory["ifmap"] == 8 * config.buffers.ifmap_bytes
    assert memory["output"] == 24 * config.tile_words
    kinds = {r.model for r in REGISTERS if r.unit in units_of(config)}
    assert kinds == {"register", "memory", "control"}  # of which the last is no hardware of this


def test_all_bits_are_equally_likely(program):
    own = Hardware(Spans(program), "register", EVERYTHING)
    rng = np.random.default_rng(0)
    drawn = [own.draw(rng).site for _ in range(4000)]
    assert {(s.layer, s.tile, s.cycle) for s in drawn} == {(ALL, EVERY, 0)}
    assert {s.stuck for s in drawn} == {0, 1}
    found = collections.Counter((s.unit, s.register) for s in drawn)
    for row in own.strata:
        share = row.count(False) / own.bits
        spread = np.sqrt(share * (1 - share) / len(drawn))
        assert abs(found[row.units[0], row.register.name] / len(drawn) - share) <= 4.5 * spread


@pytest.mark.parametrize("kind", MACHINES)
def test_what_is_drawn_exists_and_both_executions_agree(kind):
    program, image = one_conv_on(kind, 3)
    run, rng = FaultRun(program, image), np.random.default_rng(0)
    for state in ("register", "memory"):
        for live in (False, True):
            for layers in ((), (program.layer_names[0],)):
                own = Hardware(run.spans, state, Part(layers=layers), live)
                for _ in range(8):
                    fault = own.draw(rng)
                    make_plan([fault.site], run.spans)
                    outcome = run.run(fault.sites)
                    end = run_reference(program, image, fault.sites)
                    np.testing.assert_array_equal(outcome.output, end.output, str(fault))
                    # The only layer is all layers.
                    whole = run.run(_whole(fault, own))
                    np.testing.assert_array_equal(outcome.output, whole.output, str(fault))


def _whole(fault, own):
    row = next(
        row
        for row in own.strata
        if fault.site.unit in row.units and row.register.name == fault.site.register
    )
    return [Site(*{**vars(fault.site), "unit": unit}.values()) for unit in row.units]


@pytest.mark.parametrize("kind", MACHINES)
def test_bits_that_are_not_used_change_nothing(kind):
    program, image = one_conv_on(kind, 3)
    run, rng = FaultRun(program, image), np.random.default_rng(1)
    for state in ("register", "memory"):
        own = Hardware(run.spans, state, EVERYTHING)
        for row in own.strata:
            unused = row.places[~row.used].tolist()
            for _ in range(3 if unused else 0):
                r, c = unused[rng.integers(len(unused))]
                bit, copy = row.bits[rng.integers(len(row.bits))]
                sites = [
                    Site(
                        ALL,
                        EVERY,
                        0,
                        r,
                        c,
                        row.register.name,
                        bit,
                        copy,
                        unit,
                        int(rng.integers(2)),
                    )
                    for unit in row.units
                ]
                assert run.run(sites).masked == "idle", sites


def test_a_pe_that_is_stuck_is_found(files):
    """By bits x cycles of everything, memories left no trial to the PEs."""
    program, images, labels = files
    experiment = MachineFaults(program, images, 0, model="stuck", labels=labels, images_per_fault=4)
    rows = experiment.run(range(400))
    assert [row["fault"] for row in rows[:8]] == [0] * 4 + [1] * 4
    for number in range(100):
        own = rows[4 * number : 4 * number + 4]
        assert len({row["sites"] for row in own}) == 1
        assert len({row["image"] for row in own}) == 4
        assert {row["kind"] for row in own} == {("register", "memory")[number % 2]}
    assert sum(row["unit"] == "array" for row in rows) > 40
    tally = Tally(experiment.quantities, 0)
    for row in rows:
        tally.add(row)
    found = {e.label: e.interval for e in tally.estimates()}
    parts = []
    for kind, size in experiment._kinds.items():
        mine = [row for row in rows if row["kind"] == kind]
        failed = np.array([not row["outcome"].startswith(("masked", "changed")) for row in mine])
        expected = clustered(failed.reshape(-1, 4).sum(1), np.full(50, 4), 0)
        assert found[f"outcome failure kind={kind}"] == expected
        assert (expected.trials, expected.clusters) == (200, 50)
        assert f"accuracy minus fault-free kind={kind}" in found
        parts.append((size / sum(experiment._kinds.values()), expected))
    whole = found["outcome failure"]
    assert whole == weighted(parts, 0)
    assert whole.estimate == pytest.approx(sum(w * part.estimate for w, part in parts))


def test_a_part_and_its_share(files):
    program, images, _ = files
    for model in ("register", "memory", "stuck"):
        whole = MachineFaults(program, images, 0, model=model)
        parts = [
            MachineFaults(program, images, 0, model=model, part=Part(registers=(name,)))
            for name in dict.fromkeys(r.name for r in REGISTERS)
            if any(
                name in BY_UNIT[unit] and BY_UNIT[unit][name].model in ("register", "memory")
                for unit in units_of(whole._program.config)
            )
        ]
        sizes = []
        for part in parts:
            try:
                sizes.append(sum(part._kinds.values()))
            except FlexhycaError:
                continue
            assert f"{sizes[-1]:,}" in part.drawn_from
            assert {row["register"] for row in part.run(range(6))} == set(part.part.registers)
        assert sum(sizes) == sum(whole._kinds.values())
        assert ", 100.0000% of all" in whole.drawn_from
    part = Part(("array", "skew"), ("act",), ("c*",))
    one = MachineFaults(program, images, 0, model="stuck", part=part, images_per_fault=2)
    again = MachineFaults.from_spec(one.spec())
    assert (again.part, again.spec()) == (part, one.spec())


@pytest.mark.parametrize(
    ("model", "part", "message"),
    [
        (
            "register",
            Part(registers=("tree9",)),  # groups of four lanes have two stages
            "register 'tree9' is nothing that fault model 'register' hits here; did you mean "
            "tree2?",
        ),
        (
            "stuck",
            Part(units=("dppu_excess",), registers=("prod",)),  # they belong to `dppu`
            "register 'prod' is nothing that fault model 'stuck' hits here; use file_act, "
            "file_wgt, psum, position",
        ),
        (
            "register",
            Part(units=("aray",)),
            "unit 'aray' is nothing that fault model 'register' hits here; did you mean array?",
        ),
        (
            "register",
            Part(units=("skew",), registers=("prod",)),
            "register 'prod' is nothing that fault model 'register' hits here; use act, wgt",
        ),
        (
            "register",
            Part(layers=("fc*",)),
            "layers 'fc*' is nothing that fault model 'register' hits here; use conv",
        ),
    ],
)
def test_a_part_that_is_none(files, model, part, message):
    program, images, _ = files
    with pytest.raises(FlexhycaError) as caught:
        MachineFaults(program, images, 0, model=model, part=part).run([0])
    assert str(caught.value) == message


@pytest.mark.parametrize("model", ["register", "stuck"])
def test_an_empty_part_says_what_made_it_empty(model, tmp_path):
    """A DPPU that has nothing to do has no bits that a tile exposes, nor any in use."""
    program = compiled(one_conv(h=4, n=4), small_config("protection.s_th=0"), None)
    save(program, tmp_path / "p.fhx")
    np.save(tmp_path / "i.npy", random_inputs(program.network, 1, 0))

    def said(part):
        files = tmp_path / "p.fhx", tmp_path / "i.npy"
        own = MachineFaults(*files, 0, model=model, part=part, live=True)
        with pytest.raises(FlexhycaError) as caught:
            own.run([0])
        return str(caught.value)

    start = f"one: there is no bit for fault model {model!r} to hit with"
    one = said(Part(("dppu",), ("act",), ("conv",)))
    assert one == f"{start} --unit dppu --register act --layers conv; there are some without --unit"
    two = said(Part(("dppu",), ("psum",), ("conv",)))
    assert two == (
        f"{start} --unit dppu --register psum --layers conv, nor without one of these; ask for "
        "another part"
    )


def test_a_stuck_copy_beside_a_transient(files):
    """Of three copies one is stuck for ever: then a flip of another is outvoted no more."""
    program, images, _ = files
    run = FaultRun(MachineFaults(program, images, 0)._program, np.load(images)[0])
    stuck = Site(ALL, EVERY, 0, 0, 0, "acc", 14, copy=0, stuck=1)
    flip = Site("conv", 0, 20, 0, 0, "acc", 14, copy=1)
    assert run.run([stuck]).masked == "tmr"
    assert run.run([flip]).masked == "tmr"
    ends = set()
    for cycle in range(4, 140, 4):
        both = [stuck, Site("conv", 0, cycle, 0, 0, "acc", 14, copy=1)]
        outcome = run.run(both)
        np.testing.assert_array_equal(
            outcome.output, run_reference(run.program, run.image, both).output
        )
        ends.add(any(hit.elements.size for hit in outcome.hits))
    assert ends == {True, False}  # where the stuck copy is right, it still votes
    beside = MachineFaults(
        *(program, images, 3),
        part=Part(units=("array",), registers=("acc",)),
        beside=[str(stuck)],
        execution="reference",
    )
    rows = beside.run(range(20))
    assert all(row["sites"].endswith(str(stuck)) for row in rows)
    assert beside.spec()["beside"] == [str(stuck)]


DPPUS = [*choices("dppu.data_reuse"), "none"]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("reuse", DPPUS)
@pytest.mark.parametrize("size", [3, 6])
def test_units_and_registers_divide_the_hardware(reuse, size, live):
    """The groups' registers, which two units use, counted for both: a tenth too much."""
    kind = "os" if reuse == "none" else reuse
    spans = Spans(one_conv_on(kind, size)[0])
    for state in ("register", "memory"):
        whole = Hardware(spans, state, EVERYTHING, live)
        units, names = list(BY_UNIT), list(dict.fromkeys(r.name for r in REGISTERS))
        for parts in (
            [Part(units=(unit,)) for unit in units],
            [Part(registers=(name,)) for name in names],
            [Part(units=(unit,), registers=(name,)) for unit in units for name in names],
        ):
            found = [Hardware(spans, state, part, live) for part in parts]
            assert sum(own.bits for own in found) == whole.bits
            strata = [(r.register.unit, r.register.name) for own in found for r in own.strata]
            assert len(strata) == len(set(strata)) == len(whole.strata)


def test_rates_of_units_add_up_to_that_of_the_whole():
    """Over every bit of a small machine: the rate is exactly the sum of rates times shares."""
    program, image = one_conv_on("hybrid", 3)
    run = FaultRun(program, image)
    whole = Hardware(run.spans, "register", EVERYTHING)

    def failures(own):
        """Of the first bit of every place of each register, both ways, weighted by its bits."""
        total = 0.0
        for row in own.strata:
            name, (bit, copy) = row.register.name, row.bits[0]
            wrong = 0
            for r, c in row.places[:: max(1, len(row.places) // 8)].tolist():
                sites = [Site(ALL, EVERY, 0, r, c, name, bit, copy, u, 1) for u in row.units]
                wrong += run.run(sites).masked is None
            there = len(row.places[:: max(1, len(row.places) // 8)])
            total += wrong / there * row.count(False)
        return total / own.bits

    parts = [Hardware(run.spans, "register", Part(units=(unit,))) for unit in BY_UNIT]
    parts = [own for own in parts if own.bits]
    assert len(parts) == 4  # array, skew and both of the DPPU
    joined = sum(failures(own) * own.bits / whole.bits for own in parts)
    assert joined == pytest.approx(failures(whole))


def test_bits_stuck_in_some_layers_are_no_share(files):
    program, images, _ = files
    some = MachineFaults(program, images, 0, model="stuck", part=Part(layers=("conv",)))
    assert some.drawn_from.endswith(
        "), stuck while these layers run, which is no share of what is stuck for ever"
    )
    a_while = MachineFaults(
        program, images, 0, model="stuck", window=5, part=Part(layers=("conv",))
    )
    assert a_while.drawn_from.endswith(", 100.0000% of all that can be hit")

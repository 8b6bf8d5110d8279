"""Random register faults: exposure, what a flip is called, and both executions of a campaign."""

import numpy as np
import pytest

from flexhyca.faults.explain import explain
from flexhyca.faults.exposure import exposure
from flexhyca.faults.outcomes import OUTCOMES, STAGES, outcome, output_hash
from flexhyca.faults.registers import RegisterFaults, Sampler
from flexhyca.isa.program import save
from flexhyca.isa.protection import bits_of_layer, copies, protected_columns
from flexhyca.simulator.fault_run import FaultRun
from flexhyca.simulator.sites import Site
from flexhyca.simulator.tiles import Tiles
from flexhyca.tests.support import compiled, one_conv, random_inputs, small_config


@pytest.fixture
def files(tmp_path):
    config = small_config("protection.nb_th=1", "protection.s_th=0.2")
    network = one_conv(h=4, n=4)
    masks = {0: np.arange(64).reshape(4, 4, 4) % 5 == 0}
    program = compiled(network, config, masks)
    save(program, tmp_path / "p.fhx")
    np.save(tmp_path / "i.npy", random_inputs(network, 3, 0))
    return program, tmp_path / "p.fhx", tmp_path / "i.npy"


def test_executions_of_a_campaign_agree(files):
    _, program, images = files
    fast, slow = (
        RegisterFaults(program, images, 7, flips=4, execution=execution)
        for execution in ("delta", "reference")
    )
    for a, b in zip(fast.run(range(60)), slow.run(range(60)), strict=True):
        assert a["output_hash"] == b["output_hash"]
        assert a["outcome"].partition(":")[0] == b["outcome"].partition(":")[0]
        assert {k: a[k] for k in ("image", "sites")} == {k: b[k] for k in ("image", "sites")}
    again = RegisterFaults.from_spec(fast.spec())
    assert again.run([5, 3]) == [fast.run([5])[0], fast.run([3])[0]]
    assert all(row.keys() == {"index", *fast.columns} for row in again.run([0]))


def test_sites_are_drawn_by_exposure(files):
    program, *_ = files
    tiles = Tiles(program)
    sampler, rng = Sampler(tiles), np.random.default_rng(0)
    sites = [sampler.draw(rng) for _ in range(20_000)]
    kinds = bits_of_layer(program.config, program.network.layers[0].shift)
    for register in ("act", "wgt", "prod", "acc"):
        expected = sum(name == register for name, _, _ in kinds) / len(kinds)
        found = np.mean([site.register == register for site in sites])
        assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / len(sites))
    for row in exposure(tiles):
        assert row.flip_flops == sum(name == row.register for name, _, _ in kinds)
    # Live is what is not idle, for registers whose operands are never 0.
    assert {site.tile for site in sites} == {tile.number for tile in tiles.of[0]}


def test_live_cycles_are_those_in_which_a_flip_reaches_a_sum():
    network = one_conv(h=2, n=3)
    network.weights[0][:] = np.where(network.weights[0] == 0, 1, network.weights[0])
    program = compiled(network, small_config(base="base-32x32"), None)
    image = np.full((2, 2, network.tensors[0].c), 3, np.int8)
    run = FaultRun(program, image)
    tile, array = run.tiles.of[0][0], program.config.array
    for row in exposure(run.tiles):
        cycles = row.cycles // row.tiles
        hits = sum(
            len(run.run([Site("conv", 0, t, r, c, row.register, 0)]).hits[0].elements) > 0
            for t in range(cycles)
            for r in range(array.rows)
            for c in range(array.cols)
        )
        at_most = row.live * row.pes * cycles
        # Operands of the padding are 0, so that some flips of the other operand change nothing.
        assert hits <= at_most + 1e-9
        assert hits > 0.2 * at_most
        if row.register in ("prod", "acc"):
            assert hits == round(at_most), (row.register, tile)


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
    assert set(OUTCOMES) == {"sdc5", "sdc1", "changed"}


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

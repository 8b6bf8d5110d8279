"""What weighs how much in a campaign, where tiles overlap."""

import numpy as np
import pytest

from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign.estimates import Tally
from flexhyca.faults.campaign.statistics import weighted
from flexhyca.faults.machine.experiment import MachineFaults
from flexhyca.faults.machine.part import Part
from flexhyca.faults.machine.population import Population
from flexhyca.faults.models import FAULT_MODELS, MACHINE_MODELS
from flexhyca.isa.program_file import save
from flexhyca.isa.registers import BY_UNIT
from flexhyca.simulator.inject.sites import units_of
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.fuzz.programs import programs
from flexhyca.tests.support import (
    FULL_TILES,
    OVERLAP,
    STATIONARY,
    compiled,
    one_conv,
    random_inputs,
    small_config,
)

FLIPS = [name for name in MACHINE_MODELS if FAULT_MODELS[name].fault == "flip"]


def strata(*overrides):
    program = compiled(
        one_conv(),
        small_config("dppu.size=0", "protection.s_th=0", *overrides),
        None,
        wanted=FULL_TILES,
    )
    spans = Spans(program)
    return {(s.unit, s.register): s for s in Population(spans, "register").strata}, spans


def test_with_two_accumulators_the_operand_registers_are_exposed_once_a_cycle():
    # 3x3x16 = 144 operands a sum, tiles of 4x4 sums: 16 pixel tiles times 2 channel tiles.
    one, spans = strata()
    two, _ = strata("array.double_buffered_accumulators=true")
    tiles, whole = len(spans.all), 144 + 2 * 4 + 4 - 2
    assert one["array", "act"].cycles == tiles * whole
    for key in (("array", "act"), ("array", "wgt"), ("array", "prod"), ("skew", "act")):
        assert two[key].cycles == tiles * 144
        assert two[key].live == 1.0  # full tiles: there is always an operand
    # Each tile has an accumulator of its own, up to its end.
    assert two["array", "acc"].cycles == one["array", "acc"].cycles == tiles * whole


def test_drawn_cycles_are_those_in_which_the_tile_has_the_register():
    two, _ = strata("array.double_buffered_accumulators=true")
    rng = np.random.default_rng(0)
    sites = [two["array", "prod"].draw(rng) for _ in range(500)]
    passed = [site.cycle - 2 - site.row - site.col for site in sites]
    assert min(passed) == 0
    assert max(passed) == 143


@pytest.mark.parametrize("dataflow", STATIONARY)
def test_with_overlapped_preload_registers_are_exposed_once_a_cycle(dataflow):
    own = f"array.dataflow={dataflow}", f"array.{OVERLAP[dataflow]}=true"
    found, spans = strata(*own)
    starts = [span.starts for span in spans.all]
    # 144 operands are 36 folds of four rows; the next tile begins as the next fold would.
    tile = [2 * begins[-1] - begins[-2] for begins in starts]
    unit = f"array_{dataflow}"
    for register in BY_UNIT[unit]:
        assert found[unit, register].cycles == sum(tile)
        assert found[unit, register].live <= 1
    rng = np.random.default_rng(0)
    for stratum in found.values():
        if stratum.unit in (unit, f"skew_{dataflow}"):
            for site in (stratum.draw(rng) for _ in range(200)):
                assert site.cycle < spans.all[site.tile].cycles


@pytest.mark.parametrize("model", FLIPS)
@pytest.mark.parametrize("number", [0, 5])
def test_layers_and_units_divide_the_exposure(model, number):
    """A buffer belongs to the layer that is at work, a register to the one that runs on it."""
    program = programs()[number]
    spans = Spans(program)
    whole = Population(spans, model)
    rng = np.random.default_rng(0)
    for parts in (
        [Part(layers=(name,)) for name in program.layer_names],
        [Part(units=(unit,)) for unit in units_of(program.config)],
        [Part(registers=(name,)) for name in {n for own in BY_UNIT.values() for n in own}],
    ):
        found = []
        for part in parts:
            try:
                found.append(Population(spans, model, part=part))
            except FlexhycaError:
                continue
            for _ in range(20):
                site = found[-1].draw(rng)
                assert not part.layers or (site.layer,) == part.layers
                assert not part.units or (site.unit,) == part.units
                assert not part.registers or (site.register,) == part.registers
        assert sum(own.exposure for own in found) == whole.exposure
        assert sum(own.live_exposure for own in found) == pytest.approx(whole.live_exposure)


def test_the_whole_is_the_weighted_sum_of_its_parts(tmp_path):
    """Rates of units, sampled apart and weighted by exposure, are that of a sample of all."""
    config = small_config("protection.nb_th=1", "protection.s_th=0.2")
    masks = {0: np.arange(64).reshape(4, 4, 4) % 5 == 0}
    program = compiled(one_conv(h=4, n=4), config, masks)
    save(program, tmp_path / "p.fhx")
    np.save(tmp_path / "i.npy", random_inputs(program.network, 3, 0))

    def sampled(seed, part, trials=400):
        experiment = MachineFaults(tmp_path / "p.fhx", tmp_path / "i.npy", seed, part=part)
        tally = Tally(experiment.quantities, seed)
        for row in experiment.run(range(trials)):
            tally.add(row)
        rates = {e.name: e.interval for e in tally.estimates()}
        return rates["outcome masked"], sum(experiment._kinds.values())

    whole, exposure = sampled(1, Part(), 1600)
    parts = [sampled(2, Part(units=(unit,))) for unit in ("array", "skew", "dppu")]
    assert sum(size for _, size in parts) == exposure
    joined = weighted([(size / exposure, rate) for rate, size in parts], 2)
    assert joined.low < whole.high
    assert whole.low < joined.high
    assert max(rate.estimate for rate, _ in parts) > min(rate.estimate for rate, _ in parts) + 0.05

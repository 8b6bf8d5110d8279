"""What weighs how much in a campaign, where tiles overlap."""

import numpy as np

from flexhyca.faults.machine.population import Population
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.support import compiled, one_conv, small_config


def strata(*overrides):
    program = compiled(
        one_conv(), small_config("dppu.size=0", "protection.s_th=0", *overrides), None
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

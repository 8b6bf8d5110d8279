"""What bounds a layer: one table, and a rule of a sum and a maximum."""

from flexhyca.isa.instructions import Engine
from flexhyca.simulator.cycles.stalls import (
    BOUND,
    BUSY,
    RESOURCES,
    STALLS,
    bound,
)


def test_the_table_speaks_of_every_state_but_the_end() -> None:
    for engine, said in BOUND.items():
        assert set(said) == {BUSY, *STALLS[engine]} - {"finished"}
        assert set(said.values()) <= set(RESOURCES)


def test_the_resource_with_most_of_the_time_bounds() -> None:
    spent = dict.fromkeys((BUSY, *STALLS[Engine.ARRAY]), 0)
    assert bound(Engine.ARRAY, spent) == ("none", 0.0)
    assert bound(Engine.ARRAY, {**spent, "finished": 9}) == ("none", 0.0)
    spent |= {BUSY: 30, "operands": 20, "dram_contention": 20, "finished": 1000}
    spent |= {"dppu_window": 10, "output_full": 10, "instruction": 10}
    assert bound(Engine.ARRAY, spent) == ("dram", 0.4)
    assert bound(Engine.ARRAY, {**spent, "drain": 10}) == ("compute", 40 / 110)  # the first of two
    assert bound(Engine.ARRAY, {**spent, "dppu_outbuf_full": 90}) == ("dppu", 100 / 190)
    states = dict.fromkeys((BUSY, *STALLS[Engine.STORE]), 0)
    assert bound(Engine.STORE, {**states, BUSY: 3, "residual": 1}) == ("vector", 0.75)

"""The rows of --layers add up to the totals."""

from hypothesis import given, settings

from flexhyca.isa.instructions import Kind
from flexhyca.report.layers import CSV_COLUMNS, engine_columns, flat, shorten
from flexhyca.simulator.cycles.stalls import BUSY
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import programs


@settings(max_examples=30, deadline=None)
@given(programs())
def test_rows_add_up(program):
    result = simulate(program, values="none")
    rows = flat(result.layers.to_dict("records"))
    assert [row["name"] for row in rows] == list(program.layer_names)
    for row in rows:
        kinds = [f"bytes.{kind.name.lower()}" for kind in Kind]
        states = [f"{e}.{s}" for e, s in engine_columns()]
        assert list(row) == [*CSV_COLUMNS, *states, *kinds, "activation_bytes"]
    total = {column: sum(row[column] for row in rows) for column in rows[0] if "." in column}
    for engine, state in engine_columns():
        whole = result.busy[engine] if state == BUSY else result.stalls[engine][state]
        assert total[f"{engine}.{state}"] == whole
    for kind, nbytes in result.dram.items():
        assert total[f"bytes.{kind}"] == nbytes
    kept = sum(row["activation_bytes"] for row in rows)
    assert kept == sum(result.activations.values())
    assert sum(row["cycles"] for row in rows) == result.cycles
    assert sum(row["macs"] for row in rows) == result.macs


def test_shortened_names_keep_their_end():
    assert shorten("conv", 4) == "conv"
    assert shorten("layer1.conv", 5) == "…conv"

"""SCALE-Sim topology files: read strictly, timed like any other network."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.frontends.topology import (
    TopologyRow,
    is_topology,
    network_of,
    read_topology,
)
from flexhyca.config import Arithmetic, choices, load_config
from flexhyca.errors import ModelError
from flexhyca.isa.program import Program
from flexhyca.network.layers import Network
from flexhyca.simulator.run import simulate
from flexhyca.tests.simulator.cycles.test_scalesim import ROWS
from flexhyca.tests.support import small_config

HEADER = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, "
    "Channels, Num Filter, Strides,"
)
GOOD = f"{HEADER}\nConv1, 10, 9, 3, 2, 4, 6, 2,\n\nFC, 1, 1, 1, 1, 7, 3, 1,\n,,,,,,,,\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "net.csv"


def test_rows_and_network(file: Path) -> None:
    file.write_text(GOOD, "utf-8-sig", newline="\r\n")  # as spreadsheets write it
    rows = read_topology(file)
    assert rows == (
        TopologyRow("Conv1", 10, 9, 3, 2, 4, 6, 2),
        TopologyRow("FC", 1, 1, 1, 1, 7, 3, 1),
    )
    assert rows[0].output == (4, 4)
    network = network_of(rows, "net", Arithmetic(), shift=7)
    assert [(t.h, t.w, t.c) for t in network.tensors] == [
        (10, 9, 4),
        (4, 4, 6),
        (1, 1, 7),
        (1, 1, 3),
    ]
    assert [network.macs(i) for i in range(2)] == [16 * 3 * 2 * 4 * 6, 21]
    assert [layer.shift for layer in network.layers] == [7, 7]


def compiled(network: Network, *overrides: str) -> Program:
    return compile_network(network, load_config("base-32x32", overrides))


def test_layers_read_inputs_of_their_own(file: Path) -> None:
    file.write_text(GOOD)
    network = network_of(read_topology(file), "net", Arithmetic())
    result = simulate(compile_network(network, small_config()), values="none")
    assert result.macs == sum(network.macs(i) for i in range(2))
    assert result.dram["weight"] >= 3 * 2 * 4 * 6 + 21
    assert result.dram["ofmap"] == 4 * 4 * 6 + 3
    # the second layer waits for nothing of the first: both inputs are there from the start
    alone = simulate(
        compile_network(network_of(read_topology(file)[1:], "net", Arithmetic()), small_config()),
        values="none",
    )
    assert result.layers["cycles"][1] <= alone.cycles


@pytest.mark.parametrize("dataflow", choices("array.dataflow"))
def test_the_reference_rows_as_a_file(file: Path, dataflow: str) -> None:
    rows = [row for row in ROWS if row[1] == dataflow]
    lines = [", ".join(map(str, row[2:10])) for row in rows]
    file.write_text("\n".join([HEADER, *lines]))
    network = network_of(read_topology(file), "net", Arithmetic())
    program = compiled(network, "timing=scalesim", f"array.dataflow={dataflow}")
    found = simulate(program, values="none").layers["cycles"].tolist()
    assert found == [row[10] for row in rows]


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        (f"{HEADER}\nDP1, 8, 8, 3, 3, 4, 1, 1,\n", 564),  # SCALE-Sim 3.0.0
        (f"{HEADER}\nConv1, 8, 8, 3, 3, 4, 16, 1,\n", 195),
        ("Layer,M,N,K,\nG0,36,16,36,\n", 195),  # the same product
    ],
)
def test_scale_sims_other_rows(file: Path, text: str, cycles: int) -> None:
    file.write_text(text)
    network = network_of(read_topology(file), "net", Arithmetic())
    result = simulate(compiled(network, "timing=scalesim"), values="none")
    assert result.cycles == cycles


def test_a_filter_as_wide_as_its_map_is_a_product(file: Path) -> None:
    file.write_text(f"{HEADER}\nA, 1, 8192, 1, 8192, 1, 64, 1,\nB, 5000, 1, 5000, 1, 2, 3, 1,\n")
    network = network_of(read_topology(file), "net", Arithmetic())
    assert [(t.h, t.w, t.c) for t in network.tensors[::2]] == [(1, 1, 8192), (1, 1, 10000)]
    assert [network.macs(i) for i in range(2)] == [8192 * 64, 10000 * 3]
    assert simulate(compiled(network), values="none").macs == 8192 * 64 + 30000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "",
            ": 0 line(s) that are not empty; a header line (Layer name, IFMAP Height, IFMAP Width, "
            "Filter Height, Filter Width, Channels, Num Filter, Strides) and a line for each layer "
            "are needed",
        ),
        (
            "A, 9, 9, 3, 3, 4, 6, 1\nB, 9, 9, 3, 3, 4, 6, 1\n",
            ", line 1: this is a layer, not a header; begin the file with the line: Layer name, "
            "IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides",
        ),
        (
            "Layer, M, N, K,\nA, 9, 9,\n",
            ", line 2: 3 fields, wanted 4: Layer, M, N, K",
        ),
        (
            f"{HEADER}\nA, 9, 5000, 3, 4999, 4, 6, 1,\n",
            ", line 2 (A), column Filter Width: 4999 is more than 4096, which only a filter as "
            "wide as its ifmap may be",
        ),
        (
            f"{HEADER}\n\nA, 9, 9, 3, 3.5, 4, 6, 1,\n",
            ", line 3 (A), column Filter Width: '3.5' is not an integer in 1..65535",
        ),
        (
            f"{HEADER}\nA, 9, 9, 3, 3, 4, 0, 1,\n",
            ", line 2 (A), column Num Filter: '0' is not an integer in 1..1048576",
        ),
        (
            f"{HEADER}\nA, {'9' * 9999}, 9, 3, 3, 4, 6, 1,\n",
            f", line 2 (A), column IFMAP Height: '{'9' * 40}...' is not an integer in 1..65535",
        ),
        (
            f"{HEADER}\nA, 9, 2, 3, 3, 4, 6, 1,\n",
            ", line 2 (A), column Filter Width: 3 is larger than the ifmap's 2; ifmap sizes "
            "include the padding",
        ),
        (
            f"{HEADER}\n, 9, 9, 3, 3, 4, 6, 1,\n",
            ", line 2, column Layer name: '' is not a name; write one",
        ),
        (
            f"{HEADER}\nA, 65535, 65535, 3, 3, 4, 6, 1,\n",
            ": inputs, weights and outputs are 42946789650 bytes, at most 4294967296 fit the "
            "address space; split the file",
        ),
    ],
)
def test_errors(file: Path, text: str, problem: str) -> None:
    file.write_text(text)
    with pytest.raises(ModelError) as caught:
        read_topology(file)
    assert str(caught.value) == f"topology {file}{problem}"


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read_topology(tmp_path / "none.csv")
    assert str(caught.value) == f"topology {tmp_path / 'none.csv'}: no such file"
    (tmp_path / "bad.csv").write_bytes(b"Layer\xff")
    with pytest.raises(ModelError) as caught:
        read_topology(tmp_path / "bad.csv")
    assert str(caught.value) == (
        f"topology {tmp_path / 'bad.csv'}: byte 5 is not UTF-8; save it as plain CSV text"
    )
    with pytest.raises(ModelError, match=r"cannot be read: .*directory"):
        read_topology(tmp_path)


def test_what_counts_as_a_topology() -> None:
    assert is_topology("nets/VGG.CSV")
    assert not is_topology("vgg16")


FIELDS = st.one_of(
    st.integers(-2, 70_000).map(str),
    st.sampled_from(["", " 3 ", "0", "1e3", "+3", "³", "٣", "nan", "9" * 5000, '"3"', "\x00"]),
)
LINES = st.lists(FIELDS, min_size=0, max_size=10).map(", ".join)


@given(st.one_of(st.text(max_size=60), st.lists(LINES, max_size=3).map("\n".join)), st.booleans())
def test_malformed_files_are_model_errors(tmp_path_factory, text: str, header: bool) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "net.csv"
    file.write_text(f"{HEADER}\nA, 9, 9, 3, 3, 4, 6, 1,\n{text}" if header else text)
    problem = ""
    try:
        network = network_of(read_topology(file), "net", Arithmetic())
        assert all(min(t.h, t.w, t.c) >= 1 for t in network.tensors)
    except ModelError as error:
        problem = str(error)
    assert problem.startswith(f"topology {file}"[: len(problem)])
    assert "\n" not in problem

"""What people write: configurations, overrides, topologies and assembly, right and wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import assume
from hypothesis import strategies as st

from flexhyca.compiler.frontends.topology import network_of, read_topology
from flexhyca.config import Arithmetic, explain_config, load_config, to_yaml
from flexhyca.config.fields import known_keys
from flexhyca.errors import FlexhycaError
from flexhyca.isa.assembly import assemble, disassemble
from flexhyca.tests.fuzz.attacks import Attack, tried
from flexhyca.tests.fuzz.damage import VALUES, damaged, one_line
from flexhyca.tests.fuzz.programs import programs

SECTIONS = sorted({key.partition(".")[0] for key in known_keys()})
FIELDS = sorted({key.rpartition(".")[2] for key in known_keys()})
CONFIG = b"""# a machine
extends: hyca-32x32
dppu:
  size: 64
  width: 4
protection: {s_th: 1e-1, nb_th: 0x1}
dram:
  model: fixed
"""
#: What YAML readers stumble over: tags, aliases, merges, dates, other notations, huge numbers.
YAML = (
    *('!!int ""', "!!bool x", "!!timestamp x", '!!float ""', "!!set ", "!!omap ", "!!binary x"),
    *("&a ", "*a", "<<: ", "? ", "[", "{", "---\n", "...", "%YAML 9.9\n---\n", "|\n", "- ", "~"),
    *("2001-01-01 00:00:00+99:99", "0001-01-01T00:00:00-23:00", "1:99:99", ".nan", "-.inf"),
    *("0x" + "f" * 6000, "9" * 5000, '"\\ud800"', '"\\n"', '"\\x00"', "[" * 2000, "{a: " * 500),
    *("!<tag:yaml.org,2002:python/object:os.system> ls", "extends: x.yaml\n", "\t", "\x85"),
)
#: A "billion laughs": every line stands for ten of the one before.
BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(9)
)
TOPOLOGY = b"""Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
Conv1, 16, 16, 3, 3, 3, 8, 1,
fc, 1, 1, 1, 1, 8, 10, 1,
"""  # noqa: E501


def lines(error: FlexhycaError) -> None:
    """A line for each problem, and nothing that a terminal would obey."""
    for line in str(error).splitlines():
        one_line(ValueError(line))


@st.composite
def spliced(draw: st.DrawFn) -> bytes:
    content = draw(damaged(CONFIG)) if draw(st.booleans()) else CONFIG
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.sampled_from(YAML)).encode() + content[at:]
    return content


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Real keys with wild values, in any nesting."""
    leaf = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4)
    keys = st.sampled_from([*SECTIONS, "extends"]) | st.text(max_size=4) | st.integers() | st.none()
    value = draw(st.dictionaries(keys, VALUES | leaf, max_size=4) | VALUES)
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


def overrides() -> st.SearchStrategy[str]:
    keys = st.sampled_from([*known_keys(), "dppu", "x.y", "array.rows.x", "extends"])
    values = st.text(max_size=12) | st.sampled_from(YAML) | VALUES.map(str)
    return st.one_of(
        st.text(max_size=30),
        st.builds("{}={}".format, keys, values),
        st.just(".".join("a" * 3000) + "=1"),
    )


def use(path: str | Path, changes: list[str]) -> None:
    try:
        config = load_config(path, changes)
    except FlexhycaError as error:
        lines(error)
        return
    assert config.name.encode()
    assert explain_config(config)
    again = yaml.safe_load(to_yaml(config))
    assert again["array"]["rows"] == config.array.rows


@st.composite
def topologies(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        return draw(damaged(TOPOLOGY))
    rows = [row.split(b",") for row in TOPOLOGY.strip().split(b"\n")]
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.sampled_from(rows))
        at = draw(st.integers(0, len(row) - 1))
        row[at] = str(draw(VALUES)).encode("utf-8", "surrogatepass")
    return b"\n".join(b",".join(row) for row in rows)


@st.composite
def sources(draw: st.DrawFn) -> str:
    """Assembly with damaged bytes, or with other words in some lines."""
    text = disassemble(draw(st.sampled_from(programs()))).encode()
    if draw(st.booleans()):
        return draw(damaged(text)).decode("utf-8", "replace")
    rows = text.decode().split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(rows) - 1))
        words = rows[at].split(" ")
        words[draw(st.integers(0, len(words) - 1))] = str(draw(VALUES))
        rows[at] = " ".join(words)
    return "\n".join(rows)


def configurations(folder: Path, cases: int) -> int:
    path = folder / "c.yaml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        use(path, [])

    return tried(documents() | spliced() | st.binary(max_size=60), check, cases)


def changes(folder: Path, cases: int) -> int:
    given = st.lists(overrides(), min_size=1, max_size=2)
    return tried(given, lambda drawn: use("flexhyca-32x32", drawn), cases)


def tables(folder: Path, cases: int) -> int:
    table = folder / "t.csv"

    def check(content: bytes) -> None:
        table.write_bytes(content)
        try:
            rows = read_topology(table)
        except FlexhycaError as error:
            one_line(error)
            return
        assert len(network_of(rows, "t", Arithmetic()).layers) == len(rows)

    return tried(topologies() | st.binary(max_size=60), check, cases)


def assembly(folder: Path, cases: int) -> int:
    def check(text: str) -> None:
        try:
            program = assemble(text)
        except FlexhycaError as error:
            lines(error)
            return
        assume(len(program.text) < 5000)
        assert disassemble(assemble(disassemble(program))) == disassemble(program)

    return tried(sources(), check, cases)


ATTACKS = (
    Attack("configurations (.yaml), damaged or odd", configurations, 40, 3000),
    Attack("--set, any key and value", changes, 40, 3000),
    Attack("topologies (.csv), damaged or odd", tables, 40, 3000),
    Attack("assembly (.fhs), damaged or odd", assembly, 40, 3000),
)


@pytest.mark.parametrize("text", [BOMB, "[" * 100_000, "a: " * 5000, "- " * 5000, "? " * 5000])
def test_bombs(text, tmp_path):
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(FlexhycaError) as caught:
        load_config(path)
    one_line(caught.value)


def test_extends_in_a_circle(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {(i + 1) % 3}.yaml\n")
    with pytest.raises(FlexhycaError, match="extends goes in a circle"):
        load_config(tmp_path / "0.yaml")

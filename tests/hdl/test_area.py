"""The area table: of these sources, equal to what is synthesised again; areas of machines."""

import itertools
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flexhyca.config import choices, load_config
from flexhyca.config.schemes import SCHEMES, with_scheme
from flexhyca.database import checksum
from flexhyca.errors import FlexhycaError
from flexhyca.hdl import check
from flexhyca.hdl.area import table as area_table
from flexhyca.hdl.area.machine import machine_area
from flexhyca.hdl.area.pe_area import Point
from flexhyca.hdl.area.row_file import append_row, read_rows
from flexhyca.hdl.area.table import lookup
from flexhyca.hdl.netlist.cost import cells_by_column, cost
from flexhyca.hdl.netlist.design import PeProtection, protected
from flexhyca.hdl.netlist.multipliers import MULTIPLIERS
from flexhyca.hdl.netlist.pe import Datapath, multiplier, pe
from flexhyca.isa.columns import groups, partial_products

PLAIN = Point("wallace", "none", "slice", 0, 0)


def test_the_shipped_table_is_complete_and_of_these_sources():
    rows = area_table.shipped()
    assert set(rows) == set(area_table.points())
    assert all(abs(row.area_ge - row.yosys_ge) < 0.01 * row.yosys_ge for row in rows.values())


@pytest.mark.parametrize("policy", choices("protection.pe_policy"))
def test_three_rows_are_synthesised_again(policy):
    point = Point("wallace", policy, "slice", 2, 4)
    shipped = lookup(point)
    again = area_table.work_out(area_table.canonical(point))
    assert again == shipped
    assert check.areas(point).passed


def test_a_table_of_other_sources_is_refused(monkeypatch):
    monkeypatch.setattr(area_table, "source_digest", lambda: "other")
    area_table.shipped.cache_clear()
    try:
        with pytest.raises(FlexhycaError, match="the area table is of other sources; run "):
            area_table.shipped()
    finally:
        monkeypatch.undo()
        area_table.shipped.cache_clear()


def test_a_missing_point_is_worked_out_once(monkeypatch, tmp_path):
    file = tmp_path / "cache" / "area.jsonl"  # not XDG_CACHE_HOME: Yosys has its own there
    monkeypatch.setattr(area_table, "_cache_file", lambda: file)
    area_table._cached.cache_clear()
    calls = []
    real = area_table.work_out
    monkeypatch.setattr(area_table, "work_out", lambda p: calls.append(p) or real(p))
    point = replace(PLAIN, act_bits=4, weight_bits=4, acc_bits=16)
    first = lookup(point)
    area_table._cached.cache_clear()
    assert lookup(point) == first
    assert len(calls) == 1
    (line,) = file.read_text().split()[:1]
    assert line.startswith("[")
    area_table._cached.cache_clear()


def damages(whole: bytes) -> dict[str, bytes]:
    """What may become of a cache."""
    cut = len(whole) // 2
    return {
        "cut off": whole[:cut],
        "one digit changed": whole.replace(b"1234.5", b"1234.6", 1),
        "no JSON": b"{\n[\n]\nnull\n1\n{}\n[1, 2]\n[[], []]\n" + b"[" * 5000,
        "another point": whole.replace(b"act_bits", b"act_bitz"),
        "not text": bytes(range(256)),
        "empty": b"",
        "twice": whole + whole,
    }


@pytest.mark.parametrize("damage", damages(b""))
def test_a_damaged_cache_decides_nothing(damage, monkeypatch, tmp_path):
    file = tmp_path / "area.jsonl"
    row = lookup(PLAIN)._replace(yosys_ge=1234.5)
    append_row(file, area_table.source_digest(), PLAIN, row)
    file.write_bytes(damages(file.read_bytes())[damage])
    found = read_rows(file, area_table.source_digest())
    assert found in ({}, {PLAIN: row})
    append_row(file, area_table.source_digest(), PLAIN, row)  # what follows is not lost
    assert read_rows(file, area_table.source_digest()) == {PLAIN: row}
    assert read_rows(file, "other sources") == {}


NONSENSE = [
    *("x", None, [], {}, True, -1, 0, 0.5, float("nan"), float("inf"), -0.0, 10**400),
    *({"a": None}, {"a": float("nan")}, {"a": "x"}, {"a": 1.0}),
]


def nonsense():
    """A row with each value in each field."""
    row = lookup(PLAIN)
    return [row._replace(**{name: value}) for name in row._fields for value in NONSENSE]


def test_rows_that_mean_nothing_are_not_there(monkeypatch, tmp_path):
    sources = area_table.source_digest()
    file = tmp_path / "t.json.partial"
    for row in nonsense():
        append_row(file, sources, PLAIN, row)
    for name, value in itertools.product(asdict(PLAIN), [None, [], {}, -1, 1.5, float("nan")]):
        append_row(file, sources, replace(PLAIN, **{name: value}), lookup(PLAIN))
    assert read_rows(file, sources) == {}
    with pytest.raises(FlexhycaError, match="holds no rows of these sources"):
        area_table.rebuild(tmp_path / "t.json", 1)  # as a table half made


def test_a_table_that_means_nothing_is_refused(monkeypatch, tmp_path):
    whole = json.loads(area_table.SHIPPED.read_text())
    monkeypatch.setattr(area_table, "SHIPPED", tmp_path / "area_table.json")
    first, *others = whole["rows"]
    tables = [[{"point": first["point"], **row._asdict()}, *others] for row in nonsense()]
    tables += [[], others, [None, *others], [[], *others], {}, None, "x"]
    for rows in tables:
        document = {**whole, "rows": rows, "crc": checksum(json.dumps(rows))}
        area_table.SHIPPED.write_text(json.dumps(document))
        area_table.shipped.cache_clear()
        with pytest.raises(FlexhycaError, match="belongs to flexhyca and is damaged; "):
            area_table.shipped()
    monkeypatch.undo()
    area_table.shipped.cache_clear()


@pytest.mark.parametrize("home", ["~", "~nobody-of-this-name/x", None])
def test_without_a_home_nothing_is_kept(home, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if home is None:  # and no entry of the user
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    else:
        monkeypatch.setenv("HOME", home)
    row = lookup(PLAIN)
    monkeypatch.setattr(area_table, "work_out", lambda point: row)
    area_table._cached.cache_clear()
    assert lookup(replace(PLAIN, act_bits=4, weight_bits=4, acc_bits=16)) == row
    area_table._cached.cache_clear()


def test_a_cache_that_cannot_be_written_or_read(monkeypatch, tmp_path):
    point = replace(PLAIN, act_bits=4, weight_bits=4, acc_bits=16)
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    row = lookup(PLAIN)
    monkeypatch.setattr(area_table, "work_out", lambda point: row)
    for place in (tmp_path / "file" / "area.jsonl", tmp_path, tmp_path / "pipe"):
        monkeypatch.setattr(area_table, "_cache_file", lambda place=place: place)
        area_table._cached.cache_clear()
        assert lookup(point) == row
    area_table._cached.cache_clear()


def test_a_changed_table_is_refused(monkeypatch, tmp_path):
    whole = area_table.SHIPPED.read_text()
    (tmp_path / "area_table.json").write_text(whole.replace("975.953", "975.954", 1))
    monkeypatch.setattr(area_table, "SHIPPED", tmp_path / "area_table.json")
    area_table.shipped.cache_clear()
    with pytest.raises(FlexhycaError, match="belongs to flexhyca and is damaged; "):
        area_table.shipped()
    monkeypatch.undo()
    area_table.shipped.cache_clear()


@pytest.mark.parametrize("theirs", ["text", "empty", "link", "link to a table", "folder"])
def test_a_rebuild_takes_nobodys_file(theirs, tmp_path):
    """It is neither overwritten nor deleted, and nothing is worked out first."""
    partial, elsewhere = tmp_path / "t.json.partial", tmp_path / "mine"
    if theirs == "link to a table":
        append_row(elsewhere, area_table.source_digest(), PLAIN, lookup(PLAIN))
    elif theirs == "link":
        elsewhere.touch()
    if theirs.startswith("link"):
        partial.symlink_to(elsewhere)
    elif theirs == "folder":
        partial.mkdir()
    else:
        partial.write_text("mine" if theirs == "text" else "")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    what = "is a link" if theirs.startswith("link") else "holds no rows of these sources"
    with pytest.raises(FlexhycaError, match=f"t.json.partial: {what}, and stands where the rows "):
        area_table.rebuild(tmp_path / "t.json", 1)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_is_kept_beside_a_device(monkeypatch):
    row = lookup(PLAIN)
    monkeypatch.setattr(area_table, "points", lambda: [PLAIN])
    monkeypatch.setattr(area_table, "work_out", lambda point: row)
    monkeypatch.setattr(area_table, "append_row", None)
    assert len(area_table.rebuild(Path("/dev/null"), 1)["rows"]) == 1
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        area_table.rebuild(Path("/dev/full"), 1)


def test_a_rebuild_goes_on(monkeypatch, tmp_path):
    rows = area_table.shipped()
    wanted = area_table.points()[:3]
    monkeypatch.setattr(area_table, "points", lambda: wanted)
    out = tmp_path / "table.json"
    done = {point: rows[point] for point in wanted[:2]}
    for point, row in done.items():
        append_row(tmp_path / "table.json.partial", area_table.source_digest(), point, row)
    with (tmp_path / "table.json.partial").open("a") as file:
        file.write('{"sources": "cut')
    seen = []
    document = area_table.rebuild(out, 1, lambda count, total: seen.append((count, total)))
    assert seen == [(3, 3)]
    assert json.loads(out.read_text()) == document
    assert list(tmp_path.iterdir()) == [out]
    assert [row["area_ge"] for row in document["rows"]] == [rows[p].area_ge for p in wanted]


def test_the_cost_of_a_pe_is_the_sum_of_its_cells():
    row = lookup(PLAIN)
    assert row.area_ge == cost(pe(Datapath())).area_ge == pytest.approx(sum(row.parts.values()))
    assert row.flip_flops == 8 + 8 + 16 + 24 + 2


def test_cells_of_the_multiplier_stand_where_its_partial_products_do():
    for kind in MULTIPLIERS:
        netlist = multiplier(Datapath(multiplier=kind))
        gates = [
            a + b
            for a, b in zip(
                cells_by_column(netlist, "AND2"),
                [*cells_by_column(netlist, "NAND2"), 0],
                strict=False,
            )
        ]
        assert gates == [partial_products(8, 8, c) for c in range(15)]
        assert sum(cells_by_column(netlist, "FA")) == 48


def test_the_papers_example_of_merged_columns():
    """s 1, q_scale 2: a unit serves 4 groups instead of 6 columns (section III-D)."""
    columns = [c for c in range(9, 16) if partial_products(8, 8, c)]
    assert len(columns) == 6
    assert groups(8, 8, 1, 9, 15) == ((9,), (10,), (11,), (12, 13, 14, 15))


def test_more_protection_costs_more():
    for kind in MULTIPLIERS:
        for policy in ("direct", "configurable"):
            for q_scale in range(17):
                row = [lookup(Point(kind, policy, "slice", s, q_scale)).area_ge for s in range(5)]
                assert row == sorted(row)
            for s in (1, 2, 3):
                row = [lookup(Point(kind, policy, "slice", s, q)).area_ge for q in range(17)]
                assert row == sorted(row, reverse=True)
                assert all(
                    lookup(Point(kind, "configurable", "slice", s, q)).area_ge
                    <= lookup(Point(kind, "direct", "slice", s, q)).area_ge
                    for q in range(17)
                )


def test_full_tmr_is_above_all():
    netlist = pe(Datapath())
    full = cost(protected(netlist, Datapath(), PeProtection(policy="full")).netlist).area_ge
    assert 2.5 < full / cost(netlist).area_ge < 3.2


def test_scopes_of_machines():
    config = load_config()
    plain = machine_area(with_scheme(config, "base"))
    assert [scope.relative for scope in plain.scopes] == [1, 1, 1]
    own = machine_area(config)
    assert (
        own.parts["PEs"] > plain.parts["PEs"] == pytest.approx(1024 * lookup(PLAIN).area_ge, 1e-4)
    )
    assert own.parts["DPPU register files"] > 0 == plain.parts["DPPU register files"]
    areas = {name: machine_area(with_scheme(config, name, ["*"])) for name in SCHEMES}
    relative = {name: area.scopes[0].relative for name, area in areas.items()}
    assert relative["base"] == relative["tmr_alg"] == 1
    assert 1 < relative["tmr_arch"] < 1.01
    assert relative["tmr_crt1_q"] < relative["tmr_crt1"] < relative["tmr_crt2"]
    assert relative["tmr_cl"] < relative["tmr_crt1_q"]

"""Proofs by Yosys: protected cores equal plain ones, and wrong circuits are told apart."""

import pytest

from flexhyca.hdl import check
from flexhyca.hdl.netlist.design import PeProtection
from flexhyca.hdl.netlist.pe import Datapath
from flexhyca.hdl.rtl import yosys
from flexhyca.hdl.rtl.prove import proofs


@pytest.mark.parametrize(
    ("kind", "protection"),
    [
        ("wallace", PeProtection(1, 7, "direct")),
        ("array", PeProtection(1, 2, "configurable")),
        ("wallace", PeProtection(3, 4, "configurable")),
    ],
    ids=str,
)
def test_equal_and_negative_controls(kind, protection):
    found = list(proofs(Datapath(multiplier=kind), protection))
    assert [p for p in found if not p.passed] == []
    assert {p.expected for p in found} == {True, False}


def test_copies_survive_synthesis():
    result = check.copies_survive(Datapath(), PeProtection(1, 7, "configurable"))
    assert result.passed, result.found


def test_linters_accept_what_is_emitted():
    results = list(check.lint())
    assert len(results) == 8
    assert [result for result in results if result.passed is False] == []
    if skipped := [result.found for result in results if result.passed is None]:
        pytest.skip(skipped[0])


@pytest.mark.slow
def test_all_checks():
    failed = [result for result in check.run_checks() if result.passed is False]
    assert failed == []


def test_without_a_place_for_compiled_code_it_is_compiled_anew(monkeypatch, tmp_path):
    for own in ("/dev/null/there", "~/there"):
        monkeypatch.setenv("YOWASP_CACHE_DIR", own)
        assert yosys._cache(str(tmp_path)) == str(tmp_path)
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tmp_path / "new"))
    assert yosys._cache("here") == str(tmp_path / "new")

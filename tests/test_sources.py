"""Hashes of sources: a move leaves them alone, a change of what is computed never does."""

from pathlib import Path

import pytest

from flexhyca import sources
from flexhyca.hdl.area import table
from flexhyca.sources import digest, reached

ONE = '''
"""Docstring."""
from __future__ import annotations
from ..errors import FlexhycaError
from ..right.two import add as plus, sub
from ..right import three

def f(x):
    """Docstring."""
    from ..right.four import late
    return plus(x, 1) + three.C + late(x)  # a comment
'''
FILES = {
    "__init__.py": "",
    "errors.py": "class FlexhycaError(Exception):\n    text = 'a'\n",
    "left/__init__.py": "",
    "left/one.py": ONE,
    "right/__init__.py": "",
    "right/two.py": "def add(a, b):\n    return a + b\ndef sub(a, b):\n    return a - b\n",
    "right/three.py": "C = 3\n",
    "right/four.py": "from .three import C\n\ndef late(x):\n    return x * C\n",
    "right/other.py": "def add(a, b):\n    return a - b\n",
}


def of(place: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], module: str) -> str:
    """The digest of `module` in a package of these files."""
    place.mkdir()
    for name, text in (FILES | changes).items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(sources, "_ROOT", place)
    for cached in (sources._tree, sources.digest, sources.imports):
        cached.cache_clear()
    try:
        return digest(module)
    finally:
        monkeypatch.undo()
        for cached in (sources._tree, sources.digest, sources.imports):
            cached.cache_clear()


MOVED = ONE.replace("right.two", "right.deep.two")
SAME = {
    "comment and docstring": {"left/one.py": ONE.replace("a comment", "b").replace("Docs", "Dox")},
    "order of imports": {
        "left/one.py": ONE.replace("import add as plus, sub", "import sub, add as plus")
    },
    "a moved module": {
        "left/one.py": MOVED,
        "right/deep/__init__.py": "",
        "right/deep/two.py": FILES["right/two.py"],
    },
    "a message": {"errors.py": "class FlexhycaError(Exception):\n    text = 'b'\n"},
    "a module that nothing reads": {"right/other.py": "X = 1\n"},
}
OTHER = {
    "a number": {"right/three.py": "C = 4\n"},
    "another function of the same name": {"left/one.py": ONE.replace("right.two", "right.other")},
    "a number far away": {
        "right/four.py": FILES["right/four.py"].replace("C\n\n", "C\nfrom .far import D\n\n"),
        "right/far.py": "D = 1\n",
    },
    "names that change places": {
        "left/one.py": ONE.replace("add as plus, sub", "add, sub as plus")
    },
}


@pytest.mark.parametrize("change", SAME)
def test_a_digest_stays(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(tmp_path / "before", monkeypatch, {}, "left.one")
    assert of(tmp_path / "after", monkeypatch, SAME[change], "left.one") == before


@pytest.mark.parametrize("change", OTHER)
def test_a_digest_changes(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(tmp_path / "before", monkeypatch, {}, "left.one")
    assert of(tmp_path / "after", monkeypatch, OTHER[change], "left.one") != before


def test_a_module_may_move_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(tmp_path / "before", monkeypatch, {}, "left.one")
    moved = {"top.py": ONE.replace("..", ".")}
    assert of(tmp_path / "after", monkeypatch, moved, "top") == before


def test_the_area_table_is_of_the_circuits_and_of_what_measures_them() -> None:
    found = reached("hdl.area.pe_area")
    assert {"hdl.netlist.pe", "hdl.rtl.yosys", "hdl.rtl.liberty", "isa.columns"} <= found
    assert "hdl.area.table" not in found  # how rows are kept may change
    assert len(table.source_digest()) == 16

"""One public name, one meaning: none of the public face has two, and no new one comes."""

from inspect import signature
from pathlib import Path

import pytest

from flexhyca import api
from flexhyca.simulator import run
from flexhyca.tests.packaging.names import EXCEPTED, ambiguous, main, public_face
from flexhyca.tests.packaging.sources import ROOT


def test_names_of_the_public_face_have_one_meaning() -> None:
    face = public_face(ROOT)
    assert {"Result", "Model", "Config", "Network", "simulate"} <= face
    assert {name: where for name, where in ambiguous(ROOT).items() if name in face} == {}


def test_no_name_has_two_meanings() -> None:
    found = ambiguous(ROOT)
    assert not found, "call one of them something else (tests/packaging/names.py has the rule)"


def test_every_exception_has_a_reason_and_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(reason for _, reason in EXCEPTED.values())
    names = set(EXCEPTED)
    monkeypatch.setattr("flexhyca.tests.packaging.names.EXCEPTED", {})
    assert names <= ambiguous(ROOT).keys()


def test_what_is_the_same_function_is_asked_for_in_the_same_way() -> None:
    assert signature(api.simulate) == signature(run.simulate)


FILES = {
    "__init__.py": '_HOME = {"Found": ".a.b", "go": ".a"}\n__all__ = ["Found", "go"]\n',
    "a/__init__.py": "from .c import go\n",
    "a/b.py": "class Found:\n    of: Table\n    def _no(self, x: Own): ...\n",
    "a/c.py": "from .b import Found\nOwn = _x = 1\ndef go(x: Given, *, y: int) -> Found: ...\n",
    "d.py": "if True:\n    Table, Own = 1, 2\n_x = 3\nclass Given: ...\n",
    "e.py": "Given: int = 1\nfrom .d import Table\n",
    "tests/f.py": "Table = Found = 2\n",
}


def test_the_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert ambiguous(tmp_path) == {"Given": ["d", "e"], "Own": ["a.c", "d"]}
    assert public_face(tmp_path) == {"Found", "Given", "Table", "go", "int"}
    main([str(tmp_path)])
    assert capsys.readouterr().out == (
        "Given (public face): d, e\n"
        "2 names stand for two or more things, 1 of them in the public face\n"
    )
    main(["--all", str(tmp_path)])
    assert "Own: a.c, d\n" in capsys.readouterr().out

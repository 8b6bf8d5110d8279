"""The spinner is for terminals; what it says comes from the steps themselves."""

import io
import sys

from flexhyca import api
from flexhyca.cli.busy import busy
from flexhyca.config import load_config
from flexhyca.isa.program_file import save


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def steps(stream, monkeypatch) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with busy() as say:
        say("quantising")
    return stream.getvalue()


def test_only_a_terminal_is_written_to(monkeypatch):
    assert "quantising" in steps(Terminal(), monkeypatch)
    assert steps(io.StringIO(), monkeypatch) == ""


def test_every_step_of_a_build_is_said():
    said = []
    api.build("digits", load_config(), say=said.append)
    assert said == ["quantising", "ranking neurons", "compiling"]


def test_a_program_file_is_a_build_without_model(tmp_path):
    built = api.build("digits", load_config())
    save(built.program, tmp_path / "digits.fhx")
    assert api.is_program("digits.fhx")
    opened = api.open_program(tmp_path / "digits.fhx")
    assert opened.model is None
    assert opened.network.layers == built.network.layers
    cycles = [api.simulate(b.program, values="none").cycles for b in (built, opened)]
    assert cycles[0] == cycles[1]

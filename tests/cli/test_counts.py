"""Every number that an option takes has an end: far beyond it a command says so in one line."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.models import ArgumentInfo, OptionInfo
from typer.testing import CliRunner

from flexhyca.cli import app
from flexhyca.cli.options import plain_number
from flexhyca.errors import FlexhycaError
from flexhyca.tests.cli.conftest import Command
from flexhyca.tests.fuzz.command_line.options import command_functions

#: Arguments that a command wants before it looks at the number.
NEEDED = {"sweep": ["digits", "--vary", "array.rows=8", "--csv", "r.csv"]} | {
    "hdl emit": ["array", "-o", "rtl"],
    "study verify": ["s.db"],
    **{name: ["digits"] for name in ("optimise", "optimize", "simulate", "bits", "compare")},
    **{name: ["digits"] for name in ("sites", "accuracy")},
    "inject": ["digits", "--faults", "register"],
    "compile": ["digits", "-o", "p.fhx"],
}
#: Fractions, whose functions say between what.
FRACTIONS = {("bits", "ber"), ("bits", "goal"), ("inject", "margin")}


def numbers() -> Iterator[tuple[str, str, type, OptionInfo]]:
    """Every option and argument that takes one number."""
    for words, function in command_functions(app):
        hints = typing.get_type_hints(function, include_extras=True)
        for name in inspect.signature(function).parameters:
            kind, *notes = typing.get_args(hints[name]) or (hints[name],)
            (info,) = [n for n in notes if isinstance(n, OptionInfo | ArgumentInfo)] or [None]
            for number in (int, float):
                if info is not None and kind in (number, number | None):
                    yield " ".join(words), name, number, info


EVERY = list(numbers())


def test_they_are_found() -> None:
    assert len(EVERY) > 30


@pytest.mark.parametrize(
    ("command", "name", "kind", "info"), EVERY, ids=lambda value: str(value)[:20]
)
def test_every_number_has_an_end(
    command: str, name: str, kind: type, info: OptionInfo, in_tmp: Path
) -> None:
    if (command, name) not in FRACTIONS:
        assert info.min is not None
        assert info.max is not None
    option = f"--{name.replace('_', '-')}"
    for far in (str(10**30), "-" + "9" * 400, "1e400"):
        result = CliRunner().invoke(app, [*command.split(), *NEEDED.get(command, ()), option, far])
        said = result.exception if isinstance(result.exception, FlexhycaError) else result.output
        assert result.exit_code == 2 or isinstance(result.exception, FlexhycaError), said
        assert name.split("_")[0] in str(said) or option in str(said) or "FILE" in str(said)
    assert not list(in_tmp.iterdir())


def test_a_folder_that_cannot_be_is_found_before_the_work(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flexhyca.hdl.rtl import emit
    from flexhyca.report import area_figures

    def work(*_: object) -> str:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(emit, "emit_array", work)
    monkeypatch.setattr(area_figures, "fig14", work)
    (in_tmp / "file").write_text("mine")
    (in_tmp / "taken" / "array.v").mkdir(parents=True)
    (in_tmp / "taken" / "fig12.png").mkdir(parents=True)
    (in_tmp / "loop").symlink_to("loop")
    package = Path(emit.__file__).parent / "new"
    for folder in ("file", "file/below", "taken", "loop", "x" * 300, package):
        for command in (["hdl", "emit", "array"], ["area", "figures"]):
            result = CliRunner().invoke(app, [*command, "--out", str(folder)])
            assert isinstance(result.exception, FlexhycaError), (folder, result.exception)
            assert "\n" not in str(result.exception)
    assert sorted(path.name for path in in_tmp.iterdir()) == ["file", "loop", "taken"]
    assert not package.exists()


def test_numbers_between_commas_are_plain() -> None:
    good = {"1": 1, " 2.5": 2.5, "-.5e-3 ": -0.0005, "1.": 1, "+1E5": 1e5}
    assert {text: plain_number(text) for text in good} == good
    for text in (
        "1_0",
        "\u0661",
        "1\u00a00",
        "0x10",
        "1e",
        "",
        ".",
        "e5",
        "1e1_0",
        "infinity",
        "1d3",
    ):
        assert plain_number(text) is None, text
    result = CliRunner().invoke(app, ["simulate", "digits", "--mean", "1_0"])
    assert result.exit_code == 2
    assert "'1_0' is no list of numbers" in result.output


EXPONENTS = [*range(-330, 311, 80), -45, -38, -6, -3, 0, 29, 30, 38, 39]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("option", ["--mean", "--std"])
def test_means_and_deviations_are_float32(option: str) -> None:
    """What a network cannot use is refused, and nothing warns of what it can."""
    taken = []
    for exponent in EXPONENTS:
        command = ["simulate", "digits", "--images", "4", option, f"1e{exponent}"]
        result = CliRunner().invoke(app, command)
        if result.exit_code == 0:
            taken.append(exponent)
            assert np.isfinite(np.float32(f"1e{exponent}"))
        else:
            assert isinstance(result.exception, FlexhycaError), (exponent, result.exception)
            assert option[2:] in str(result.exception)
    assert len(taken) >= 3


def test_a_path_of_thousands_of_characters_is_shortened(flexhyca: Command) -> None:
    for command in (["disasm", "p" * 6000 + ".fhx"], ["config", "show", "d/" * 3000 + "c.yaml"]):
        run = flexhyca(*command)
        assert run.code == 2
        assert len(run.err) < 500
        assert command[-1][-20:].split("/")[-1] in run.err


def test_no_file_is_named_that_nobody_gave(flexhyca: Command) -> None:
    """Without --out a campaign stands in a temporary file, which is nobody's business."""
    own = ["inject", "digits", "--faults", "register"]
    for wrong in (["--trials", 10**30], ["--trials", 10**13], ["--margin", "2"]):
        run = flexhyca(*own, *wrong)
        assert run.code == 2
        assert "campaign.db" not in run.err

"""Random command lines, of the options that the commands have.

They are taken from the signatures of the commands, so a new option is tried without being told
here; `PLAUSIBLE` only makes it likely that a command gets further than to its first check.  What
takes long is ended by Ctrl-C, which has to be obeyed, too.
"""

from __future__ import annotations

import contextlib
import inspect
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import typer
from hypothesis import strategies as st
from typer.models import ArgumentInfo, OptionInfo

from flexhyca.cli import app
from flexhyca.faults.models import FAULT_MODELS
from flexhyca.tests.fuzz.attacks import Attack, tried
from flexhyca.tests.fuzz.command_line.commands import judge, surroundings, tree
from flexhyca.tests.fuzz.command_line.inputs import contents, run, write_inputs

_SECONDS = 3  # that a command may take
WORDS = ("", "x", "-", "--", "=", "a=b", "0", "-1", "1,2", "1..3", "nan", "inf", "1e400", "é", "\n")
WORDS += (
    "9" * 400,
    "x" * 5000,
    "../in",
    "/dev/null",
    "/nonexistent/x",
    "all",
    "*",
    "%s",
    "[",
    "{}",
)
NUMBERS = (0, 1, 2, 3, 10, -1, 256, 257, 65536, 2**31, 2**32, 2**63, 2**64, 10**30)
#: By the name of a parameter.
PLAUSIBLE: dict[str, tuple[str, ...]] = {
    "model": ("digits", "topology.csv", "network.onnx", "beside.onnx", "program.fhx"),
    "config": ("flexhyca-32x32", "base-32x32", "machine.yaml"),
    "set_": ("protection.s_th=0", "dppu.size=0", "array.rows=8", "dram.model=open_row"),
    "vary": ("array.rows=8,16", "protection.s_th=0.05,0.1", "placement=random,clustered"),
    "scheme": ("base", "tmr_cl", "tmr_crt1", "tmr_alg", "base,tmr_cl"),
    "schemes": ("base", "tmr_cl,tmr_crt1"),
    "protect": ("0", "conv1", "all"),
    "faults": tuple(FAULT_MODELS),
    "site": ("layer=conv1,tile=0,cycle=3,row=0,col=0,reg=acc,bit=3,unit=array",),
    "unit": ("array", "dppu", "buffer"),
    "register": ("acc", "weight"),
    "space": ("full", "small", "space.yaml"),
    "mapping": ("mapping.yaml",),
    "scenario": ("own", "I", "II", "both"),
    "optimiser": ("random", "walk", "gpyopt", "tpe"),
    "ber": ("1e-3", "1e-4,1e-3"),
    "goal": ("0.5", "0.9"),
    "limit": ("traffic=0.2", "cycles=1.1"),
    "front": ("area,cycles",),
    "images": ("5", "first:5"),
    "mean": ("0.5",),
    "std": ("0.5", "0"),
    "find_rate": ("1e-5,1e-2",),
    "fit_per_mbit": ("100",),
    "q_scale": ("7", "0..3"),
    "overflow": ("slice", "saturate"),
    "trials": ("1", "3"),
    "budget": ("1", "2"),
    "patterns": ("1", "10", "20"),
    "workers": ("1",),
    "device": ("cpu", "cuda"),
    "dask": ("nonsense", ""),
    "data": ("images.npz",),
    "weights": ("weights.npz", "weights.safetensors", "weights.pt"),
    "design": ("machine.yaml", "flexhyca-32x32"),
    "study": ("search.db", "OUT/s.db"),
    "resume": ("search.db",),
    "reuse": ("search.db",),
    "liberty": ("cells.lib",),
    "program": ("program.fhx",),
    "text": ("program.fhs",),
    "file": ("faults.db", "errors.db", "search.db"),
    "files": ("machine.yaml",),
    "name": ("flexhyca-32x32", "machine.yaml"),
    "vectors": ("64",),
}
#: Where results go. Anything else that is a file is read.
OUTPUTS = (
    "json",
    "csv",
    "plot",
    "out",
    "layers",
    "trace",
    "parquet",
    "picture",
    "target",
    "pe_map_out",
)
SUFFIXES = (".json", ".csv", ".png", ".svg", ".pdf", ".db", ".fhx", ".fhs", ".parquet", ".yaml", "")
#: Databases that commands go on with, so that the same name is read and written.
CONTINUED = ("search.db", "sweep.db", "faults.db", "errors.db")


class Parameter(NamedTuple):
    """name : as the function has it. option : "--name"; None for an argument."""

    name: str
    option: str | None
    kind: Any
    many: bool
    needed: bool


class Command(NamedTuple):
    words: tuple[str, ...]
    parameters: tuple[Parameter, ...]


def command_functions(group: typer.Typer, words: tuple[str, ...] = ()) -> Iterator[Any]:
    for info in group.registered_commands:
        assert info.callback is not None
        yield (*words, info.name or info.callback.__name__), info.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from command_functions(inner.typer_instance, (*words, str(inner.name)))


def _parameters(function: Callable[..., Any]) -> Iterator[Parameter]:
    hints = typing.get_type_hints(function, include_extras=True)
    for name, given in inspect.signature(function).parameters.items():
        kind, *notes = typing.get_args(hints[name]) or (hints[name],)
        info = next((n for n in notes if isinstance(n, OptionInfo | ArgumentInfo)), None)
        if info is None:
            continue
        parts = [
            part
            for part in (typing.get_args(kind) if _is_union(kind) else (kind,))
            if part is not type(None)
        ]
        many = typing.get_origin(parts[0]) is list
        inner = typing.get_args(parts[0])[0] if many else parts[0]
        names = [word for word in info.param_decls or () if word.startswith("--")]
        option = names[0] if names else f"--{name.strip('_').replace('_', '-')}"
        yield Parameter(
            name,
            option if isinstance(info, OptionInfo) else None,
            inner,
            many,
            given.default is inspect.Parameter.empty,
        )


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def commands() -> list[Command]:
    """All of the application."""
    return [Command(words, tuple(_parameters(f))) for words, f in command_functions(app)]


def _values(parameter: Parameter) -> st.SearchStrategy[str]:
    """Values of a parameter: mostly of its type."""
    files = [*contents(), ".", "nothing.here", "/dev/null", "\0", "x" * 300]
    places = [f"OUT/x{suffix}" for suffix in SUFFIXES] * 3 + ["OUT", "OUT/no/x", "-", *contents()]
    likely: st.SearchStrategy[str]
    kind = parameter.kind
    if parameter.name in OUTPUTS:
        return st.sampled_from(places)
    if parameter.name in PLAUSIBLE:
        likely = st.sampled_from(PLAUSIBLE[parameter.name])
    elif typing.get_origin(kind) is Literal:
        likely = st.sampled_from(typing.get_args(kind))
    elif kind is int:
        likely = st.sampled_from(NUMBERS).map(str)
    elif kind is float:
        likely = st.floats().map(str)
    elif kind is Path:
        likely = st.sampled_from(files)
    else:
        likely = st.sampled_from(WORDS)
    wild = st.sampled_from([*WORDS, *map(str, NUMBERS), *files]) | st.text(max_size=5)
    return st.one_of(likely, likely, likely, likely, wild)


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command line; results go to the folder OUT."""
    command = draw(st.sampled_from(commands()))
    words, arguments = list(command.words), list[str]()
    for parameter in command.parameters:
        chance = draw(st.integers(0, 19))
        if chance >= (19 if parameter.needed else 5):
            continue
        for _ in range(draw(st.integers(1, 2)) if parameter.many else 1):
            if parameter.kind is bool:
                words.append(str(parameter.option))
                continue
            value = draw(_values(parameter))
            if parameter.option is None:
                arguments.append(value)
            else:
                words += [parameter.option, value]
    if "--rebuild" in words and "--out" not in words:  # that would be the package's own table
        words += ["--out", "OUT/x.json"]
    if draw(st.integers(0, 19)) == 0:
        words.append(draw(st.sampled_from(["--nothing", "-x", *WORDS])))
    return words + arguments


@contextlib.contextmanager
def impatient(seconds: float) -> Iterator[list[int]]:
    """Ctrl-C after so many seconds, and again; the value counts them."""
    presses: list[int] = []

    def press(*_: object) -> None:
        presses.append(1)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, press)
    interrupt = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield presses
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGINT, interrupt)


def _random_lines(folder: Path, wanted: int) -> int:
    place, out = write_inputs(folder / "in"), folder / "out"
    original = contents()

    def check(line: list[str]) -> None:
        for path in [*_under(out), *_under(place)]:
            path.unlink()
        out.mkdir(exist_ok=True)
        for name, content in original.items():
            (place / name).write_bytes(content)
        words = [word.replace("OUT", str(out)) for word in line]
        with impatient(_SECONDS) as presses:
            code, err = run(*words)
        if presses and code in (1, 130):
            assert code == 130, (code, err)
        else:
            judge(code, err)
        now = tree(place)
        assert set(now) >= set(original), set(original) - set(now)
        changed = {name for name in original if now[name] != original[name]}
        free = {name for name in original if line.count(name) == 1}  # named as a result alone
        if "beside.onnx" in line:
            free -= {"beside.bin"}
        assert not changed - set(CONTINUED) - free, changed
        left = [p.name for p in [*_under(out), *_under(place)] if p.name.startswith(".flexhyca")]
        assert not left, left
        assert not list((folder / "tmp").iterdir()), list((folder / "tmp").iterdir())

    with surroundings(folder):
        return tried(lines(), check, wanted)


def _under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]


ATTACKS = (Attack("random command lines of all commands", _random_lines, 30, 3000),)

if __name__ == "__main__":
    for found in commands():
        sys.stdout.write(
            f"{' '.join(found.words)}: {[p.option or p.name for p in found.parameters]}\n"
        )

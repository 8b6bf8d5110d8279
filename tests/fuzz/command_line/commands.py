"""Every file that a command reads, damaged, through the real commands.

Exit code 0 or 2, errors of one line each, no file that was read is changed, none is left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from flexhyca.tests.fuzz import test_files, test_texts
from flexhyca.tests.fuzz.attacks import Attack, tried
from flexhyca.tests.fuzz.command_line.inputs import contents, run, write_inputs
from flexhyca.tests.fuzz.damage import VALUES, damaged
from flexhyca.tests.fuzz.programs import broken_files, wild_files, wild_headers

_SMALL = "--set protection.s_th=0 --set dppu.size=0"
#: What reads a file, with FILE for its name and OUT for a folder; `optimise` and `study` read what
#: others of their options read, too, and take longer.
READERS = {
    "machine.yaml": (
        "config show FILE --json OUT/x.json",
        "config check FILE --json OUT/x.json",
        "area array --config FILE --json OUT/x.json",
        "compile topology.csv --config FILE -o OUT/x.fhx",
        "compare --design FILE --no-accuracy --json OUT/x.json",
    ),
    "space.yaml": ("optimise digits --space FILE --ber 0.6",),
    "mapping.yaml": (f"compile topology.csv --mapping FILE -o OUT/x.fhx {_SMALL}",),
    "topology.csv": (
        f"compile FILE -o OUT/x.fhx {_SMALL}",
        "sweep FILE --vary array.rows=8,16 --csv OUT/x.csv",
    ),
    "cells.lib": ("area pe --liberty FILE --json OUT/x.json",),
    "images.npz": (f"simulate digits --data FILE --json OUT/x.json {_SMALL}",),
    "weights.npz": (f"simulate digits --weights FILE --json OUT/x.json {_SMALL}",),
    "weights.safetensors": (f"compile digits --weights FILE -o OUT/x.fhx {_SMALL}",),
    "weights.pt": (f"accuracy digits --q-scale 8 --weights FILE --json OUT/x.json {_SMALL}",),
    "network.onnx": (f"simulate FILE --no-values --json OUT/x.json {_SMALL}",),
    "beside.onnx": (f"compile FILE -o OUT/x.fhx {_SMALL}",),
    "beside.bin": (f"compile beside.onnx -o OUT/x.fhx {_SMALL}",),
    "program.fhx": (
        "disasm FILE -o OUT/x.fhs",
        "simulate FILE --json OUT/x.json --trace OUT/x.trace",
    ),
    "program.fhs": ("asm FILE -o OUT/x.fhx",),
    "faults.db": (
        "campaign show FILE --json OUT/x.json",
        "campaign show FILE --masking",
        "campaign export FILE --csv OUT/x.csv",
        "campaign repair FILE --out OUT/x.db",
    ),
    "errors.db": (
        "campaign show FILE --json OUT/x.json",
        "campaign export FILE --parquet OUT/x.parquet",
    ),
    "sweep.db": ("sweep topology.csv --vary array.rows=8,16 --csv OUT/x.csv --study FILE",),
    "search.db": (
        "study show FILE --json OUT/x.json",
        "study export FILE OUT/x.csv",
        "study plot FILE OUT/x.png",
        "compare digits --reuse FILE --no-accuracy --json OUT/x.json",
        "optimise --resume FILE --json OUT/x.json",
    ),
    "area.jsonl": ("area pe --q-scale 9 --protect 5 --pe-policy direct --json OUT/x.json",),
}
#: Files that their reader continues.
_CONTINUED = ("sweep.db", "search.db", "area.jsonl")


@contextlib.contextmanager
def surroundings(folder: Path) -> Iterator[None]:
    """The current folder, temporary files and caches are in `folder`."""
    named = {"TMPDIR": "tmp", "XDG_CACHE_HOME": "cache"}
    for name in named.values():
        (folder / name).mkdir(exist_ok=True)
    before = {name: os.environ.get(name) for name in named}
    os.environ |= {name: str(folder / place) for name, place in named.items()}
    try:
        with contextlib.chdir(folder / "in"):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def judge(code: int, err: str, most: int = 99) -> None:
    """0, or 2 with `most` lines at most, each of which says that it is an error."""
    said = [line for line in err.splitlines() if line.strip()]
    assert code in (0, 2), (code, err)
    errors = [line for line in said if line.startswith(("error: ", "Error: "))]
    assert "Traceback" not in err, err
    if code:
        assert 1 <= len(errors) <= most, err
        ours = [line for line in errors if line.startswith("error: ")]  # typer echoes what is typed
        assert all(line.isprintable() for line in ours), err


def _odd_json(content: bytes) -> st.SearchStrategy[bytes]:
    """A line of the area cache with another value in it, and a checksum that fits."""
    text, _ = json.loads(content)
    row = json.loads(text)

    def put(key: str, value: Any) -> bytes:
        from flexhyca.database import checksum

        changed = json.dumps({**row, key: value})
        return json.dumps([changed, checksum(changed)]).encode()

    return st.builds(put, st.sampled_from(sorted(row)), VALUES)


def _odd(name: str, good: bytes) -> st.SearchStrategy[bytes]:
    """Damage, and where there is a generator for a kind of file, what it makes."""
    kinds = [damaged(good), damaged(good), st.binary(max_size=60)]
    match Path(name).suffix:
        case ".yaml":
            kinds += [test_texts.documents(), test_texts.spliced()]
            leaves = st.recursive(VALUES, lambda x: st.lists(x, max_size=2), max_leaves=4)
            keys = st.sampled_from(["parameters", "limits", "extends", "dppu", "Conv1", "x"])
            kinds.append(
                st.dictionaries(keys, leaves, max_size=3).map(
                    lambda drawn: yaml.safe_dump(drawn, allow_unicode=True).encode(
                        "utf-8", "surrogatepass"
                    )
                )
            )
        case ".csv":
            kinds += [test_texts.topologies()]
        case ".fhs":
            kinds += [test_texts.sources().map(lambda text: text.encode("utf-8", "surrogatepass"))]
        case ".fhx":
            kinds += [wild_files(), wild_headers(), broken_files()]
        case ".jsonl":
            kinds += [_odd_json(good)]
        case _ if name == "images.npz":
            kinds += [test_files.images()]
    return st.one_of(kinds)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """(command, name of the damaged file, its content)."""
    name = draw(st.sampled_from(sorted(READERS)))
    command = draw(st.sampled_from(READERS[name]))
    return command, name, draw(_odd(name, contents()[name]))


def _damaged_files(folder: Path, wanted: int) -> int:
    place, out = write_inputs(folder / "in"), folder / "out"
    out.mkdir()
    cache = folder / "cache" / "flexhyca" / "area.jsonl"

    def check(case: tuple[str, str, bytes]) -> None:
        command, name, content = case
        for old in [*out.iterdir(), *place.iterdir()]:
            old.unlink()
        for other, good in contents().items():
            (place / other).write_bytes(content if other == name else good)
        if name == cache.name:
            from flexhyca.hdl.area import table

            cache.parent.mkdir(exist_ok=True)
            cache.write_bytes(content)
            table._cached.cache_clear()
        before = tree(place)
        words = command.replace("FILE", name).replace("OUT", str(out)).split()
        code, err = run(*words)
        judge(code, err)
        after = tree(place)
        if name in _CONTINUED:
            before.pop(name), after.pop(name, None)
        assert after == before
        left = [path.name for path in out.iterdir()]
        assert not code or not [x for x in left if not x.endswith(".db")], (left, err)
        assert not [x for x in left if x.startswith(".")], left
        assert not list((folder / "tmp").iterdir())

    with surroundings(folder):
        return tried(cases(), check, wanted)


ATTACKS = (Attack("every file that a command reads, damaged or odd", _damaged_files, 25, 2500),)

"""Files of other programs: images, checkpoints, rankings, studies, whole or not."""

from __future__ import annotations

import copy
import io
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import strategies as st

from flexhyca import api
from flexhyca.compiler.importance.ranking import Ranking
from flexhyca.compiler.weights import load_weights, read_weights
from flexhyca.dse.keys import ResultKey
from flexhyca.dse.study import Study
from flexhyca.errors import FlexhycaError, ModelError
from flexhyca.tests.fuzz.attacks import Attack, tried
from flexhyca.tests.fuzz.damage import VALUES, damaged, one_line

DTYPES = ("u1", "i8", "u8", "f2", "f4", "f8", "?", "c8", "U3", "S3", "M8[s]", "O", "V4", ">i4")
LABELS = (np.array([-1, 0, 1, 2]), np.array([2**63] * 4, np.uint64), np.array([0, 1, 2, 10]))
SIZES = ((10**13, 8, 8, 1), (10**5, 10**5, 8, 1), (10**20,), (-1, 8, 8, 1), (2**62, 2**62), ("x",))


def npz(arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def claiming(name: str, dtype: str, shape) -> bytes:
    """An npz of a hundred bytes whose array says that it is as large as `shape`."""
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        magic = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little")
        archive.writestr(f"{name}.npy", magic + head + bytes(64))
    return out.getvalue()


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 4, 8]), max_size=5))
    return np.zeros(shape, np.dtype(draw(st.sampled_from(DTYPES))))


@st.composite
def images(draw: st.DrawFn) -> bytes:
    good = {"images": np.zeros((4, 8, 8, 1), np.uint8), "labels": np.arange(4)}
    if draw(st.booleans()):
        return draw(damaged(npz(good)))
    name = draw(st.sampled_from(["images", "labels", "other"]))
    wrong = {**good, name: draw(arrays() | st.sampled_from(LABELS))}
    if draw(st.booleans()):
        wrong.pop(draw(st.sampled_from(sorted(wrong))))
    return npz(wrong)


def module() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(2, 3))


def saved(value) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


@st.composite
def checkpoints(draw: st.DrawFn, named) -> tuple[str, bytes]:
    """(suffix, content)."""
    suffix = draw(st.sampled_from([".npz", ".safetensors", ".pt"]))
    write = {
        ".npz": npz,
        ".safetensors": safetensors.numpy.save,
        ".pt": lambda x: saved({k: torch.from_numpy(v) for k, v in x.items()}),
    }[suffix]
    if draw(st.booleans()):
        return suffix, draw(damaged(write(named)))
    if suffix == ".pt" and draw(st.booleans()):
        zeros = torch.zeros(2)
        odd = [module(), [1], {"a": [1]}, {"state_dict": 3}, {"state_dict": {1: zeros}}, 3, None]
        odd += [{"a\n": zeros.to_sparse()}, {"a": torch.empty(3, device="meta")}, {"model": {}}]
        return suffix, saved(draw(st.sampled_from(odd)))
    array = draw(arrays().filter(lambda a: a.dtype.kind in "fiu" and a.dtype.byteorder != ">"))
    return suffix, write(
        {**named, draw(st.sampled_from([*named, "x\x1b"])): np.asarray(array, "f4")}
    )


@st.composite
def rankings(draw: st.DrawFn, good: bytes) -> bytes:
    if draw(st.booleans()):
        return draw(damaged(good))
    notes = {"format": "flexhyca-ranking-1", "model": "m", "inputs": "4"}
    key = draw(st.sampled_from(sorted(notes)))
    if draw(st.booleans()):
        notes.pop(key)
    else:
        notes[key] = str(draw(VALUES)).encode("utf-8", "replace").decode()
    scores = np.zeros(draw(st.sampled_from([(2, 2, 3), (2,), (0, 1, 1)])))
    name = draw(st.sampled_from(["0000 a", "a", "0000 "]))
    return safetensors.numpy.save({name: scores}, metadata=notes)


def written(path: Path, content: bytes) -> Path:
    """Files are written while they are drawn, so that a failing test does not print them."""
    path.write_bytes(content)
    return path


def attempt(run) -> None:
    try:
        run()
    except FlexhycaError as error:
        one_line(error)


def data(folder: Path, cases: int) -> int:
    digits, path = api.load_model("digits"), folder / "d.npz"

    def check(content: bytes) -> None:
        attempt(lambda: api.load_data(digits, written(path, content)))

    return tried(images() | st.binary(max_size=40), check, cases)


def weights(folder: Path, cases: int) -> int:
    net = module()

    def check(drawn: tuple[str, bytes]) -> None:
        path = written(folder / f"w{drawn[0]}", drawn[1])
        attempt(lambda: load_weights(copy.deepcopy(net), read_weights(path), path.name))

    named = {k: v.numpy() for k, v in net.state_dict().items()}
    return tried(checkpoints(named), check, cases)


def kept_rankings(folder: Path, cases: int) -> int:
    path = folder / "ranking"
    Ranking("m", {"a": np.ones((2, 2, 3))}, 4).save(path)
    good = path.read_bytes()
    return tried(
        rankings(good), lambda drawn: attempt(lambda: Ranking.load(written(path, drawn))), cases
    )


def studies(folder: Path, cases: int) -> int:
    good, path = study(folder / "good.db"), folder / "s.db"

    def check(content: bytes) -> None:
        for old in folder.glob("s.db-*"):
            old.unlink(missing_ok=True)  # SQLite may take its journal back meanwhile
        path.write_bytes(content)
        attempt(lambda: study(path))

    return tried(damaged(good), check, cases)


ATTACKS = (
    Attack("images in an .npz, damaged or odd", data, 40, 2000),
    Attack("weights (.npz, .safetensors, .pt), damaged or odd", weights, 40, 2000),
    Attack("rankings, damaged or odd", kept_rankings, 40, 2000),
    Attack("studies, damaged, read and continued", studies, 40, 2000),
)


def study(path: Path) -> bytes:
    """Read and write a study; what was kept is either as it was, or refused."""
    with Study(path, {"model": "a"}) as kept:
        for seed in range(20):
            found = kept.find(ResultKey("timing", f"abc{seed}"))
            assert found in (None, {"cycles": seed, "text": "y" * 50})
            kept.add(ResultKey("timing", f"abc{seed}"), {"cycles": seed, "text": "y" * 50})
        assert kept.find_bytes(ResultKey("ranking", "r")) in (None, b"\1" * 5000)
        kept.add_bytes(ResultKey("ranking", "r"), b"\1" * 5000)
    return path.read_bytes()


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_sizes_that_the_file_only_claims(shape, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(claiming("images", "|u1", shape))
    with pytest.raises(ModelError) as caught:
        api.load_data(api.load_model("digits"), path)
    one_line(caught.value)
    path.write_bytes(claiming("0.weight", "<f4", shape))
    with pytest.raises(ModelError) as caught:
        read_weights(path)
    one_line(caught.value)


def test_bfloat16_weights_are_read(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors")["a"].tolist() == [1.5, -2.0]


def test_a_study_in_use_says_so(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    study(path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0}))
    with connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(FlexhycaError) as caught:
            Study(path, {"model": "a"})
    assert str(caught.value) == (
        f"{path}: another process is writing it; wait until that has ended"
    )


def test_a_damaged_run_is_not_believed(tmp_path):
    path = tmp_path / "s.db"
    study(path)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE results SET content = replace(content, '7', '8')")
    with Study(path, {"model": "a"}) as kept, pytest.raises(FlexhycaError) as caught:
        kept.find(ResultKey("timing", "abc7"))
    assert str(caught.value) == (
        f"{path}: is damaged (a wrong checksum); delete it, or give another --study"
    )


def test_a_refused_study_is_not_kept_locked(tmp_path):
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE foreign_to_us (x)")
    with pytest.raises(FlexhycaError) as refused:  # the error holds on to its frames
        Study(path, {"model": "a"})
    with sqlite3.connect(path, timeout=0) as other:
        other.execute("INSERT INTO foreign_to_us VALUES (1)")
    assert "a database of another program" in str(refused.value)

"""An ONNX file where a name would do, in every command that takes one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flexhyca.compiler.data import digits_dataset
from flexhyca.compiler.networks import NETWORKS
from flexhyca.compiler.weights import load_weights, read_weights
from flexhyca.tests.compiler.frontends.onnx_models import export, make, write

Command = Callable[..., Any]  # conftest: arguments -> code, out, err
DIGITS = NETWORKS["digits"]
NORMAL = ("--mean", *map(str, DIGITS.mean), "--std", *map(str, DIGITS.std))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits.onnx with the shipped weights, and digits.npz with the held-out images."""
    folder = tmp_path_factory.mktemp("onnx")
    module = DIGITS.build()
    load_weights(module, read_weights(DIGITS.weights_path), "digits")
    export(module.eval(), torch.zeros(1, *DIGITS.input_shape), folder / "digits.onnx", new=False)
    data = digits_dataset("test")
    np.savez(folder / "digits.npz", images=data.images, labels=data.labels)
    return folder


@pytest.fixture(autouse=True)
def _in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_simulate_gives_the_cycles_of_the_built_in(flexhyca: Command) -> None:
    runs = [
        flexhyca("simulate", name, "--no-values", "--placement", "clustered", "--json", "-")
        for name in ("digits", "digits.onnx")
    ]
    own, other = (json.loads(run.out) for run in runs)
    assert (own["model"], other["model"]) == ("digits", "digits.onnx")
    for key in ("total_cycles", "macs", "dram_bytes", "busy", "stalls", "layers"):
        assert own[key] == other[key], key


def test_accuracy_needs_data_and_the_normalisation(flexhyca: Command) -> None:
    arguments = ("--q-scale", 0, "--overflow", "saturate", "--json", "-")
    run = flexhyca("accuracy", "digits.onnx", *arguments)
    assert run.code == 2
    assert run.err == (
        "error: model digits.onnx comes without images; give an npz with --data FILE\n"
    )
    data = ("--data", "digits.npz")
    report = json.loads(flexhyca("accuracy", "digits.onnx", *data, *NORMAL, *arguments).out)
    own = json.loads(flexhyca("accuracy", "digits", *data, *arguments).out)
    assert report["float"] == own["float"] > 0.97
    assert report["points"][0]["accuracy"] == own["points"][0]["accuracy"]
    wrong = json.loads(flexhyca("accuracy", "digits.onnx", *data, "--mean", 0.9, *arguments).out)
    assert wrong["float"] < own["float"]


def test_simulate_on_images_and_compile(flexhyca: Command) -> None:
    run = flexhyca(
        "simulate", "digits.onnx", "--data", "digits.npz", *NORMAL, "--images", 40, "--json", "-"
    )
    assert json.loads(run.out)["accuracy"]["int8"] >= 0.97
    run = flexhyca("compile", "digits.onnx", "--placement", "random", "-o", "digits.fhx")
    assert run.code == 0
    assert flexhyca("disasm", "digits.fhx", "-o", "digits.fhs").code == 0


def test_sweep_keeps_studies_of_other_weights_apart(flexhyca: Command) -> None:
    grid = ("--vary", "dppu.size=52,104", "--placement", "random")
    assert flexhyca("sweep", "digits.onnx", *grid, "--csv", "out.csv").code == 0
    path = Path("digits.onnx")
    kept = path.read_bytes()
    name = b"fc.bias"
    at = kept.rindex(name) + len(name) + 3
    try:
        path.write_bytes(kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :])
        run = flexhyca("sweep", "digits.onnx", *grid, "--csv", "out.csv")
    finally:
        path.write_bytes(kept)
    assert run.code == 2
    assert "weights" in run.err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("simulate", "none.onnx"), "error: none.onnx: no such file\n"),
        (
            ("simulate", "digits.onnx", "--weights", "w.npz"),
            "error: digits.onnx: an ONNX file holds its weights; leave out w.npz\n",
        ),
        (
            ("simulate", "digits.onnx", "--mean", "0.1,0.2"),
            "error: model digits.onnx: mean has 2 values for 1 input channel(s)\n",
        ),
        (
            ("compile", "digits.onnx", "-o", "x.fhx", "--std", "0"),
            "error: model digits.onnx: std (0.0,) must be positive\n",
        ),
    ],
)
def test_errors(flexhyca: Command, arguments: tuple[str, ...], error: str) -> None:
    run = flexhyca(*arguments)
    assert (run.code, run.out, run.err) == (2, "", error)


def test_a_list_that_is_none(flexhyca: Command) -> None:
    run = flexhyca("accuracy", "digits.onnx", "--mean", "a,b")
    assert run.code == 2
    assert "'a,b' is no list of numbers, such as 0.5,0.5,0.5" in run.err


def test_a_map_as_output(flexhyca: Command, folder: Path) -> None:
    from onnx import helper

    write(folder, make([helper.make_node("Relu", ["x"], ["y"])], shape=(1, 1, 8, 8)), "relu.onnx")
    data = ("--data", "digits.npz")
    run = flexhyca("simulate", "relu.onnx", *data, "--json", "-")
    assert run.code == 0
    assert "relu.onnx: its output is a map, so labels are not used" in run.err
    assert "accuracy" not in json.loads(run.out)
    assert flexhyca("simulate", "relu.onnx", "--no-values").code == 0
    run = flexhyca("accuracy", "relu.onnx", *data)
    assert (run.code, run.err.splitlines()[-1]) == (
        2,
        "error: model relu.onnx: its output is a map of shape (1, 8, 8), so there is no accuracy",
    )

"""A whole file of every kind that a command reads, small enough to be read in a moment."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch

from flexhyca.cli import main
from flexhyca.compiler.networks import NETWORKS
from flexhyca.compiler.weights import read_weights
from flexhyca.hdl.area.pe_area import Point
from flexhyca.hdl.area.row_file import append_row
from flexhyca.hdl.area.table import shipped, source_digest
from flexhyca.tests.compiler.frontends.onnx_models import pooled_conv

TOPOLOGY = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, "
    "Strides,\nConv1, 6, 6, 3, 3, 2, 4, 1,\nfc, 1, 1, 1, 1, 4, 3, 1,\n"
)
SPACE = """parameters:
  protection.s_th: [0, 0.05]
  protection.q_scale: [8, 11]
  dppu.size: [0, 32]
limits: {traffic: 0.2}
"""
LIBERTY = """library (mine) {
  cell (NAND2) { area : 1.0; pin (A) { direction : input; } pin (B) { direction : input; }
    pin (Y) { direction : output; function : "!(A & B)"; } }
  cell (DFF) { area : 4.0; ff (IQ, IQN) { clocked_on : "C"; next_state : "D"; }
    pin (C) { direction : input; clock : true; } pin (D) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; } }
}
"""


def run(*arguments: object) -> tuple[int, str]:
    """Run a command in this process: its exit code, and what went to standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["flexhyca", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as done,
    ):
        main()
    code = done.value.code
    return (code if isinstance(code, int) else int(code is not None)), err.getvalue()


def _network() -> onnx.ModelProto:
    return pooled_conv(np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32))


@cache
def contents() -> dict[str, bytes]:
    """Name -> content."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        (folder / "machine.yaml").write_text("extends: flexhyca-32x32\ndppu: {size: 64}\n")
        (folder / "space.yaml").write_text(SPACE)
        (folder / "mapping.yaml").write_text("Conv1: {rows: 4, cols: 2, weights_outside: true}\n")
        (folder / "topology.csv").write_text(TOPOLOGY)
        (folder / "cells.lib").write_text(LIBERTY)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
        np.savez(folder / "images.npz", images=images, labels=np.arange(40) % 10)
        weights = read_weights(NETWORKS["digits"].weights_path)
        np.savez(folder / "weights.npz", **weights)
        safetensors.numpy.save_file(weights, folder / "weights.safetensors")
        torch.save({k: torch.from_numpy(v) for k, v in weights.items()}, folder / "weights.pt")
        onnx.save(_network(), folder / "network.onnx")
        onnx.save(
            _network(),
            folder / "beside.onnx",
            save_as_external_data=True,
            location="beside.bin",
            size_threshold=0,
        )
        point = Point("wallace", "direct", "slice", 5, 9)
        append_row(folder / "area.jsonl", source_digest(), point, next(iter(shipped().values())))
        for command in (
            "compile topology.csv -o program.fhx --set protection.s_th=0",
            "disasm program.fhx -o program.fhs",
            "inject digits --faults register --trials 20 --out faults.db",
            "inject digits --faults ber --ber 1e-3 --trials 4 --images 20 --out errors.db",
            "sweep topology.csv --vary array.rows=8,16 --csv sweep.csv --study sweep.db",
            "optimise digits --space space.yaml --ber 1.7e-3 --goal 0.5 --budget 2 --patterns 10 "
            "--images 40 --study search.db",
        ):
            code, err = run(*command.split())
            assert code == 0, (command, err)
        (folder / "sweep.csv").unlink()
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write_inputs(folder: Path) -> Path:
    """All of them in a new folder."""
    folder.mkdir()
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    return folder

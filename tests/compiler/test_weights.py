"""Checkpoints: three formats, common differences tolerated, everything else in one message."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from flexhyca.compiler.weights import load_weights, read_weights
from flexhyca.errors import ModelError


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3))


def state():
    torch.manual_seed(1)
    return {
        k: torch.randn_like(v) for k, v in module().state_dict().items() if v.is_floating_point()
    }


def same(net, wanted):
    return all(torch.equal(net.state_dict()[k], v) for k, v in wanted.items())


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pth"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.module."])
def test_formats_and_prefixes(tmp_path, suffix, prefix):
    wanted, path = state(), tmp_path / f"w.{suffix}"
    named = {prefix + k: v for k, v in wanted.items()}
    if suffix == "safetensors":
        save_file(named, path)
    elif suffix == "npz":
        np.savez(path, note="text is ignored", **{k: v.numpy() for k, v in named.items()})
    else:
        torch.save({"state_dict": named, "epoch": 3}, path)
    net = module()
    load_weights(net, read_weights(path), "w")
    assert same(net, wanted)


def test_everything_that_does_not_fit_is_named_at_once():
    arrays = {k: v.numpy() for k, v in state().items()}
    del arrays["0.bias"], arrays["2.bias"]
    arrays["3.weight"] = arrays["2.weight"]
    arrays["2.weight"] = arrays["2.weight"].T
    arrays["1.bias"] = arrays["1.bias"] * np.nan
    net = module()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(net, arrays, "w.npz")
    assert str(caught.value) == (
        "weights w.npz do not fit Sequential: missing: 0.bias, 2.bias; unexpected: 3.weight; "
        "of another shape: 2.weight (2, 3) wanted (3, 2); with NaN or infinite values: 1.bias"
    )
    assert same(net, before)  # nothing was half loaded


def test_long_lists_are_cut():
    with pytest.raises(ModelError, match=r"missing: .*, \.\.\. \(8 in all\)"):
        load_weights(module(), {}, "w")


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_pickles_of_code_are_refused(tmp_path, capsys):
    path = tmp_path / "w.pth"
    torch.save({"0.weight": Evil()}, path)
    with pytest.raises(ModelError, match=r"not a plain torch state_dict .*; save it with"):
        read_weights(path)
    np.savez(tmp_path / "w.npz", a=np.array([Evil()], dtype=object))
    with pytest.raises(ModelError, match=r"w\.npz: not a plain npz file: "):
        read_weights(tmp_path / "w.npz")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pth"])
def test_broken_files_are_one_line(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(b"\x00nonsense" * 9)
    with pytest.raises(ModelError) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no such file"):
        read_weights(tmp_path / "absent")

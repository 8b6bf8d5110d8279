"""Read a checkpoint into a torch module: safetensors, npz or a torch file, never a pickle of code.

Common differences are tolerated (a prefix such as `module.`, the absence of `num_batches_tracked`);
everything else that is missing, unexpected or of another shape is reported in one message.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file  # NumPy has no bfloat16
from torch import nn

from ..errors import ModelError, first_line
from ..files import is_file, reading
from .npz import read_npz

PREFIXES = ("module.", "model.", "_orig_mod.", "state_dict.", "net.", "backbone.")
_OPTIONAL = "num_batches_tracked"
_SHOWN = 4

Arrays = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]


def _numbers(items: Mapping[Any, object]) -> Arrays:
    """The floating-point arrays and tensors among `items`, as float32; others are dropped."""
    arrays: Arrays = {}
    for name, value in items.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            value = value.detach().to("cpu", torch.float32).numpy()
        if isinstance(name, str) and isinstance(value, np.ndarray) and value.dtype.kind == "f":
            arrays[name] = value.astype(np.float32, copy=False)
    return arrays


def _read_torch(path: Path) -> Mapping[Any, object]:
    content = torch.load(reading(path), map_location="cpu", weights_only=True)
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ModelError(f"weights {path}: holds a {type(content).__name__}, wanted a state_dict")
    return content


def read_weights(path: str | Path) -> Arrays:
    """name -> float32 array of a checkpoint (.safetensors, .npz, else a torch file)."""
    path = Path(path)
    if not is_file(path):
        raise ModelError(f"weights {path}: no such file")
    if path.suffix == ".npz":
        return _numbers(read_npz(path, "weights"))
    try:
        if path.suffix == ".safetensors":
            return _numbers(load_file(reading(path)))
        return _numbers(_read_torch(path))
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"weights {path}: cannot be read: {first_line(error)}") from error
    except Exception as error:  # both libraries raise a dozen unrelated types
        kind = "safetensors file" if path.suffix == ".safetensors" else "torch state_dict"
        raise ModelError(
            f"weights {path}: not a plain {kind} ({first_line(error)}); "
            "save it with torch.save(model.state_dict(), file) or as safetensors"
        ) from error


def _strip(arrays: Arrays, wanted: set[str]) -> Arrays:
    """Drop a prefix that every name carries, as long as that brings names closer to `wanted`."""
    changed = True
    while changed and not wanted & set(arrays):
        changed = False
        for prefix in PREFIXES:
            if arrays and all(name.startswith(prefix) for name in arrays):
                arrays = {name.removeprefix(prefix): value for name, value in arrays.items()}
                changed = True
    return arrays


def _list(title: str, names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    shown = (name if name.isprintable() else repr(name) for name in names[:_SHOWN])
    return f"{title}: {', '.join(shown)}{more}"


def load_weights(module: nn.Module, arrays: Arrays, source: str) -> None:
    """Copy `arrays` into `module`, strictly; ModelError names every name that does not fit.

    source : what to call the weights in the message, a file name usually.
    """
    state = {k: v for k, v in module.state_dict().items() if not k.endswith(_OPTIONAL)}
    arrays = {k: v for k, v in arrays.items() if not k.endswith(_OPTIONAL)}
    arrays = _strip(arrays, set(state))
    problems = []
    missing = sorted(set(state) - set(arrays))
    unexpected = sorted(set(arrays) - set(state))
    misshaped = [
        f"{k} {tuple(arrays[k].shape)} wanted {tuple(v.shape)}"
        for k, v in state.items()
        if k in arrays and arrays[k].shape != tuple(v.shape)
    ]
    broken = [k for k in state if k in arrays and not np.isfinite(arrays[k]).all()]
    for title, names in (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", misshaped),
        ("with NaN or infinite values", broken),
    ):
        if names:
            problems.append(_list(title, names))
    if problems:
        raise ModelError(
            f"weights {source} do not fit {type(module).__name__}: {'; '.join(problems)}"
        )
    own = {k: torch.from_numpy(arrays[k]) for k in state}
    module.load_state_dict(own, strict=False, assign=True)

"""Old public names: each warns, and goes with version 0.2."""

from __future__ import annotations

import warnings
from importlib import import_module

#: Old name -> new one.
RENAMED = {
    "flexhyca.quantize": "flexhyca.quantise",
    "flexhyca.quantize_images": "flexhyca.quantise_images",
    "flexhyca.api.quantize": "flexhyca.api.quantise",
    "flexhyca.api.quantize_images": "flexhyca.api.quantise_images",
    "flexhyca.api.accuracy": "flexhyca.api.accuracy_of",
    "flexhyca.api.Values": "flexhyca.simulator.run.Values",
}


def by_old_name(module: str, name: str) -> object:
    """What an old name of a module stands for; for the module's `__getattr__`.

    Raises AttributeError for what never was a name of it.
    """
    new = RENAMED.get(f"{module}.{name}")
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    text = f"{module}.{name} is called {new}; the old name goes with version 0.2"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
    home, _, own = new.rpartition(".")
    return getattr(import_module(home), own)

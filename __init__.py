"""flexhyca: what soft errors do to a neural network on an accelerator, and what protection costs.

Start here::

    import flexhyca as fh

    config = fh.load_config("flexhyca-32x32")
    model = fh.load_model("digits")
    images, labels = fh.load_images(model)
    network = fh.quantize(model, config, images)
    important = fh.select_important(model, network, config, images, labels)
    program = fh.compile(network, config, important)
    result = fh.simulate(program, images)

Names are loaded on first use: ``import flexhyca`` alone loads neither torch nor numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import (
        compile,
        load_images,
        load_model,
        quantize,
        select_important,
        simulate,
    )
    from .config import Config, load_config
    from .errors import (
        CompileError,
        ConfigError,
        DeadlockError,
        FlexhycaError,
        InternalError,
        ModelError,
        ProgramError,
        QuantisationError,
    )
    from .simulator import Result

__version__ = "0.1.0"

#: Public name -> the module that holds it (PEP 562: imported when first asked for).
_HOME = {
    "Config": ".config",
    "load_config": ".config",
    "load_model": ".api",
    "load_images": ".api",
    "quantize": ".api",
    "select_important": ".api",
    "compile": ".api",
    "simulate": ".api",
    "Result": ".simulator",
    "FlexhycaError": ".errors",
    "InternalError": ".errors",
    "ConfigError": ".errors",
    "ModelError": ".errors",
    "QuantisationError": ".errors",
    "CompileError": ".errors",
    "ProgramError": ".errors",
    "DeadlockError": ".errors",
}

__all__ = [
    "CompileError",
    "Config",
    "ConfigError",
    "DeadlockError",
    "FlexhycaError",
    "InternalError",
    "ModelError",
    "ProgramError",
    "QuantisationError",
    "Result",
    "compile",
    "load_config",
    "load_images",
    "load_model",
    "quantize",
    "select_important",
    "simulate",
]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

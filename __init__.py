"""flexhyca: what soft errors do to a neural network on an accelerator, and what protection costs.

Start here::

    import flexhyca as fh

    config = fh.load_config("flexhyca-32x32", ["dppu.size=64"])
    model = fh.load_model("digits")
    data = fh.load_data(model)
    network = fh.quantise(model, config, data)
    important = fh.select_important(fh.rank_neurons(model, data), network, config)
    program = fh.compile(network, config, important)
    result = fh.simulate(program, fh.quantise_images(model, network, data.images[:1]))

Names are loaded on first use: ``import flexhyca`` alone loads neither torch nor numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import (
        compile,
        float_accuracy,
        int8_accuracy,
        load_data,
        load_model,
        quantise,
        quantise_images,
        rank_neurons,
        run_images,
        select_important,
        simulate,
    )
    from .compiler.data import Dataset
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
    from .exploration import bits, compare, optimise
    from .isa.pe_map import StuckPe, load_pe_map, random_pe_map
    from .isa.program import Program
    from .simulator.run import Result

__version__ = "0.1.0"

#: Public name -> the module that holds it (PEP 562: imported when first asked for).
_HOME = {
    "CompileError": ".errors",
    "Config": ".config",
    "ConfigError": ".errors",
    "Dataset": ".compiler.data",
    "DeadlockError": ".errors",
    "FlexhycaError": ".errors",
    "InternalError": ".errors",
    "ModelError": ".errors",
    "Program": ".isa.program",
    "ProgramError": ".errors",
    "QuantisationError": ".errors",
    "Result": ".simulator.run",
    "StuckPe": ".isa.pe_map",
    "bits": ".exploration",
    "compare": ".exploration",
    "compile": ".api",
    "float_accuracy": ".api",
    "int8_accuracy": ".api",
    "load_config": ".config",
    "load_data": ".api",
    "load_model": ".api",
    "load_pe_map": ".isa.pe_map",
    "optimise": ".exploration",
    "quantise": ".api",
    "quantise_images": ".api",
    "random_pe_map": ".isa.pe_map",
    "rank_neurons": ".api",
    "run_images": ".api",
    "select_important": ".api",
    "simulate": ".api",
}

__all__ = [
    "CompileError",
    "Config",
    "ConfigError",
    "Dataset",
    "DeadlockError",
    "FlexhycaError",
    "InternalError",
    "ModelError",
    "Program",
    "ProgramError",
    "QuantisationError",
    "Result",
    "StuckPe",
    "bits",
    "compare",
    "compile",
    "float_accuracy",
    "int8_accuracy",
    "load_config",
    "load_data",
    "load_model",
    "load_pe_map",
    "optimise",
    "quantise",
    "quantise_images",
    "random_pe_map",
    "rank_neurons",
    "run_images",
    "select_important",
    "simulate",
]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        from .renamed import by_old_name

        value = by_old_name(__name__, name)
    else:
        value = getattr(import_module(home, __name__), name)
    # `from flexhyca import name` asks twice, and an old name should warn once.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

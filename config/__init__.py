"""The accelerator's configuration: schema, shipped YAML files, loader.

Start with `load_config`; `schema` holds the one table of fields, defaults and limits, `schemes`
that of protection schemes, `accelerators/` the shipped files.  This package knows nothing of
programs or networks.
"""

from .accelerator import Config, hash_of
from .buffers import Buffers
from .fields import choices
from .load import config_from_json, list_configs, load_config
from .schema import Arithmetic, Array, Dppu, Dram, Protection, Vec
from .show import explain_config, to_yaml

__all__ = [
    "Arithmetic",
    "Array",
    "Buffers",
    "Config",
    "Dppu",
    "Dram",
    "Protection",
    "Vec",
    "choices",
    "config_from_json",
    "explain_config",
    "hash_of",
    "list_configs",
    "load_config",
    "to_yaml",
]

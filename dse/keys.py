"""What determines each stage of an evaluation: its key, in named dependencies.

A key holds just what its stage depends on, so that designs share what they have in common, later
studies find it again, and a new field of the configuration invalidates nothing that it does not
touch.  It holds a digest of the stage's own code as well: another version may give other results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from ..config import Config
from ..config.fields import known_keys, section
from ..faults.ber.options import BerOptions
from ..network.layers import Network
from ..sources import code_digest
from ..tables import complete

_SECTIONS = {
    part: tuple(f"{part}.{leaf}" for leaf in section(part).model_fields)
    for part in ("array", "arithmetic", "dppu", "protection", "buffers", "dram", "vec", "mapping")
}
_WORDS = tuple(f"arithmetic.{name}_bits" for name in ("act", "weight", "acc"))
_COPIES = ("protection.redundancy", "protection.redundant_layers")
_MASK = ("protection.s_th", "protection.s_policy", "protection.hardened_cols")
_BITS = ("protection.nb_th", "protection.ib_th")
_PES = ("protection.q_scale", "protection.pe_policy")
#: Fields that decide how a layer is cut into tiles, and so what `s_policy: tile` picks.
_TILES = (
    *(*_WORDS, *_SECTIONS["array"], *_SECTIONS["buffers"], *_COPIES),
    *("timing", *_SECTIONS["dram"], *_SECTIONS["vec"], *_SECTIONS["mapping"]),
)

#: Stage -> fields of the configuration that it depends on.
FIELDS: dict[str, tuple[str, ...]] = {
    "network": (*_SECTIONS["arithmetic"], "protection.q_scale"),
    "timing": (*_TILES, *_MASK, *_SECTIONS["dppu"]),
    "area": (
        *(*_SECTIONS["array"], *_SECTIONS["arithmetic"], *_SECTIONS["dppu"]),
        *(*_SECTIONS["buffers"], *_BITS, *_PES, *_COPIES, "protection.hardened_cols"),
    ),
    # Of an accumulator the columns that have copies are protected; of a neuron its top bits.
    "mask": _MASK,
    "accuracy": (*_BITS, *_COPIES),
    "accuracy of accumulators": (*_BITS, *_COPIES, *_PES, *_SECTIONS["arithmetic"]),
}
complete(
    "fields of config/schema.py",
    known_keys(),
    {
        *(name for fields in FIELDS.values() for name in fields),
        # A name, what reports make of cycles, and where voters stand: one fault that both vote out.
        *("name", "clock_mhz", "protection.voter"),
    },
    "dse/keys.py: FIELDS",
)
#: Packages whose sources decide what a stage gives; a test holds them against the imports.
CODE: dict[str, tuple[str, ...]] = {
    "network": ("compiler", "config", "network"),
    "ranking": ("compiler", "config", "isa", "network", "simulator"),
    "timing": ("compiler", "config", "isa", "network", "simulator"),
    "rates": ("compiler", "config", "faults", "isa", "network", "simulator"),
    "accuracy": ("compiler", "config", "faults", "isa", "network", "simulator"),
}


class ResultKey(NamedTuple):
    """A stage, and the digest of what determines it."""

    stage: str
    digest: str


def key_of(stage: str, dependencies: Mapping[str, Any]) -> ResultKey:
    """dependencies : plain values; their order does not matter."""
    text = json.dumps({"code": code_digest(*CODE[stage]), **dependencies}, sort_keys=True)
    return ResultKey(stage, hashlib.sha256(f"{stage} {text}".encode()).hexdigest()[:24])


def field_values(config: Config, names: Sequence[str]) -> dict[str, Any]:
    """Values of fields, for a key."""
    found = {}
    for name in names:
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def mask_of(config: Config, ranking: str) -> dict[str, Any] | None:
    """What decides which neurons are important; None where it makes no difference.

    ranking : digest of what the neurons were ranked by.
    """
    hardened = config.protection.hardened_cols  # tiles say where, even if nothing is important
    if not hardened and not (config.protection.s_th and config.dppu.size):
        return None
    own = {"ranking": ranking, **field_values(config, _MASK)}
    if hardened or config.protection.s_policy == "tile":
        own |= field_values(config, _TILES)
    return own


def network_digest(network: Network) -> str:
    """Of all integers of a network, and of the layers that they belong to."""
    digest = hashlib.sha256()
    digest.update(repr((network.layers, network.tensors, network.arithmetic)).encode())
    for index in sorted(network.weights):
        for array in (network.weights[index], network.biases[index]):
            digest.update(f"{index} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:24]


def accuracy_stage(options: BerOptions) -> str:
    """The row of `FIELDS` that says what accuracy depends on."""
    return "accuracy of accumulators" if options.target == "acc" else "accuracy"


def accuracy_dependencies(
    config: Config, network: str, ranking: str, options: BerOptions
) -> dict[str, Any]:
    """What a design's accuracy depends on, apart from rate, patterns and images.

    network : its digest. Where ordinary and important neurons have the same bits protected, it does
    not matter which are which; where a layer has copies, not whether in space or in time.
    """
    protection, stage = config.protection, accuracy_stage(options)
    own = field_values(config, FIELDS[stage])
    same = stage == "accuracy" and protection.nb_th == protection.ib_th
    mask = mask_of(config, ranking)
    if same or mask is None:
        mask = None
        own["protection.ib_th"] = protection.nb_th
    own["protection.redundancy"] = protection.redundancy != "none"
    return {"network": network, "mask": mask, **own, "options": asdict(options)}

"""The table of protection schemes (docs/schemes.md): what each does to a machine.

A scheme replaces a configuration's protection; the rest of the machine stays.  Flips, cycles,
traffic and area are all derived from the configuration that comes out, so a scheme may set what
they know: fields of `dppu` and `protection`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, InternalError
from .accelerator import Config
from .fields import known_keys
from .load import config_from_json


@dataclass(frozen=True)
class Scheme:
    """One way to protect a network. settings : fields of the configuration that it sets."""

    name: str
    paper: str  #: the paper's name
    meaning: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def redundant(self) -> bool:
        """Whether it computes some layers three times, which have to be named."""
        return bool(self.settings.get("protection.redundancy", "none") != "none")


_PLAIN = {
    "dppu.size": 0,
    "protection.s_th": 0.0,
    "protection.ib_th": 0,
    "protection.nb_th": 0,
    "protection.q_scale": 0,
    "protection.pe_policy": "none",
    "protection.redundancy": "none",
    "protection.hardened_cols": 0,
}


def _circuit(bits: int, constrained: bool, policy: str = "direct") -> Scheme:
    settings = {**_PLAIN, "protection.nb_th": bits, "protection.pe_policy": policy}
    if constrained:
        del settings["protection.q_scale"]
    rule = "the configuration's q_scale" if constrained else "q_scale 0 (unconstrained)"
    routed = policy == "configurable"
    paper = f"TMR-CRT{bits}" + (", quantisation constrained" if constrained else "")
    return Scheme(
        f"tmr_crt{bits}{'_q' if constrained else ''}{'c' if routed else ''}",
        f"ours: TMR-CRT{bits}, constrained, routed copies" if routed else paper,
        f"top {bits} bit(s) of every PE tripled, pe_policy {policy}, {rule}",
        settings,
    )


_ROWS: tuple[Scheme, ...] = (
    Scheme("base", "Base", "nothing is protected, no DPPU, q_scale 0", _PLAIN),
    *(_circuit(bits, False) for bits in (1, 2, 3)),
    *(_circuit(bits, True) for bits in (1, 2, 3)),
    # What the paper gives TMR-CL alone: the honest rival (the squares in its Fig. 15).
    *(_circuit(bits, True, "configurable") for bits in (1, 2, 3)),
    Scheme(
        "tmr_arch",
        "TMR-ARCH",
        "redundant_layers on three thirds of the array, voted; q_scale 0",
        {**_PLAIN, "protection.redundancy": "space"},
    ),
    Scheme(
        "tmr_alg",
        "TMR-ALG",
        "redundant_layers run three times, voted; q_scale 0",
        {**_PLAIN, "protection.redundancy": "time"},
    ),
    Scheme(
        "tmr_cols",
        "ours: hardened columns (Schorn et al.)",
        "the configuration's own protection without the DPPU: channels with many important neurons "
        "meet two columns of PEs with ib_th protected bits",
        {"dppu.size": 0, "protection.hardened_cols": 2, "protection.redundancy": "none"},
    ),
    Scheme("tmr_cl", "TMR-CL", "the configuration's own protection (FlexHyCA)"),
)
#: name -> scheme, in the order of reports.
SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in _ROWS}
#: Those that compute some layers several times.
REDUNDANT_SCHEMES = tuple(scheme.name for scheme in _ROWS if scheme.redundant)


def with_scheme(config: Config, name: str, layers: Sequence[str] = ()) -> Config:
    """`config` under the scheme `name`; ConfigError for an unknown one.

    layers : the sensitive layers; schemes without redundancy take no notice of them.
    """
    scheme = SCHEMES.get(name)
    if scheme is None:
        near = difflib.get_close_matches(name, SCHEMES, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(SCHEMES)}"
        raise ConfigError(f"scheme {name!r} does not exist; {hint}")
    values = config.model_dump(mode="json")
    for path, value in scheme.settings.items():
        section, key = path.split(".")
        values[section][key] = value
    if layers and values["protection"]["redundancy"] != "none":
        values["protection"]["redundant_layers"] = list(layers)
    return config_from_json(values, f"scheme {name}")


def unnamed_layers(config: Config) -> str:
    """Why a machine with redundancy protects nothing; empty where it does, or has none."""
    if config.protection.redundancy == "none" or config.protection.redundant_layers:
        return ""
    return "no layer is named that it protects; give --protect LAYER,... ('*' is all of them)"


def _check_rows() -> None:
    """Raise InternalError where a row of the table makes no machine."""
    where = "config/schemes.py: scheme"
    settable = {key for key in known_keys() if key.startswith(("dppu.", "protection."))}
    for scheme in _ROWS:
        if SCHEMES[scheme.name] is not scheme:
            raise InternalError(f"{where} {scheme.name} stands twice")
        for path in scheme.settings:
            if path not in settable:
                raise InternalError(
                    f"{where} {scheme.name} sets {path}, which is no field of dppu or protection "
                    "in config/schema.py"
                )
        try:
            with_scheme(Config(), scheme.name)
        except ConfigError as error:
            raise InternalError(f"config/schemes.py: {error}") from None


_check_rows()

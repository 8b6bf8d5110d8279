"""Options that several commands share, with the one help text of each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..config.schemes import REDUNDANT_SCHEMES
from ..errors import FlexhycaError

if TYPE_CHECKING:
    from ..config import Config

#: Of anything that is done one after the other: months, and numbers that fit wherever they go.
MOST_COUNT = 1_000_000
#: Formats that a plot can have.
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def check_suffix(option: str, path: Path | None, *suffixes: str) -> None:
    """Refuse a file whose name does not say which of these formats it has."""
    if path is not None and not path.name.lstrip(".").endswith(suffixes):
        *most, last = suffixes
        known = f"{', '.join(most)} or {last}" if most else last
        raise typer.BadParameter(f"{path} must end in {known}", param_hint=option)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether the user gave a parameter, so that its value is no default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_beside(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse parameters that would have no effect. why : a clause, why they have none."""
    options = {
        p.name: p.opts[0] if p.opts[0].startswith("-") else p.name.upper()
        for p in context.command.params
        if p.name
    }
    for name in names:
        if is_given(context, name):
            raise FlexhycaError(f"{options[name]}: {why}; leave one of them out")


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model (see `flexhyca models`) or an ONNX file (.onnx)."
    ),
]
ModelOrTopologyArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model (see `flexhyca models`), an ONNX file (.onnx) or a SCALE-Sim topology file "
        "(.csv).",
    ),
]
ModelOrFileArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model (see `flexhyca models`), an ONNX file (.onnx), a SCALE-Sim topology file "
        "(.csv) or a compiled program (.fhx; cycles and traffic only).",
    ),
]
PlacementOption = Annotated[
    Literal["gradient", "random", "clustered"] | None,
    typer.Option(
        help="Where important neurons are: by gradient (needs weights and images to mean anything; "
        "default), random, or clustered like a measured ranking (default for a topology).",
    ),
]
MappingOption = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        metavar="FILE",
        help="Mappings of layers that you want, in YAML: LAYER: {rows: 16, weights_outside: true}, "
        "a name or pattern each; what is left out is the compiler's choice.",
    ),
]
DEFAULT_CONFIG = "flexhyca-32x32"
ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        "-c",
        metavar="NAME|FILE",
        help="A shipped configuration (see `flexhyca config list`) or a YAML file.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Change one value of the configuration, for example dppu.size=64; repeatable.",
    ),
]
SchemeOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A protection scheme instead of the configuration's own, such as base or tmr_arch; "
        "`flexhyca compare` lists them.",
    ),
]
ProtectOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help=f"The sensitive layers, which {' and '.join(REDUNDANT_SCHEMES)} compute three times, "
        "such as conv1,layer1.* (* is all of them); other schemes take no notice.",
    ),
]


def load_settings(
    config: str, changes: Sequence[str], scheme: str | None, protect: str | None
) -> Config:
    """The configuration with --set, --scheme and --protect; FlexhycaError where they contradict."""
    from ..config import load_config
    from ..config.schemes import unnamed_layers, with_scheme

    settings = load_config(config, changes)
    layers = split_names(protect)
    if scheme is not None:
        settings = with_scheme(settings, scheme, layers)
        if reason := unnamed_layers(settings):
            raise FlexhycaError(f"scheme {scheme}: {reason}")
    if layers and settings.protection.redundancy == "none":
        what = "the configuration" if scheme is None else f"scheme {scheme}"
        raise FlexhycaError(
            f"--protect: {what} computes nothing three times; give --scheme "
            f"{' or '.join(REDUNDANT_SCHEMES)}"
        )
    if layers and scheme is None:
        names = f"protection.redundant_layers={json.dumps(layers)}"
        settings = load_config(config, [*changes, names])
    return settings


def check_workers(command: str, workers: int, dask: str | None) -> None:
    """Refuse processes here beside those of a cluster."""
    if dask is not None and workers > 1:
        raise FlexhycaError(f"{command}: give either --workers or --dask")


def split_names(names: str | None) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in (names or "").split(",") if part.strip()]


WeightsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Trained weights: .safetensors, .npz, or a torch file (loaded with weights_only).",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="An npz with `images` (u8, NHWC or NHW) and `labels`; the model's own otherwise.",
    ),
]


_NUMBER = re.compile(r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|inf|nan)")


def plain_number(text: str) -> float | None:
    """A number as people write it; None for others that Python reads, such as 1_0."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


class Numbers(tuple[float, ...]):
    """Numbers between commas."""


def numbers(example: str) -> Callable[[str], Numbers]:
    """A parser of an option. example : for its error."""

    def parse(text: str) -> Numbers:
        parts = [plain_number(part) for part in text.split(",")]
        if None in parts:
            raise typer.BadParameter(f"{text!r} is no list of numbers, such as {example}")
        return Numbers(part for part in parts if part is not None)

    return parse


MeanOption = Annotated[
    Numbers | None,
    typer.Option(
        parser=numbers("0.5,0.5,0.5"),
        metavar="LIST",
        help="What is subtracted from pixels / 255, a number for each channel: 0.485,0.456,0.406. "
        "Default: the model's own; 0 for an ONNX file, which has none.",
    ),
]
StdOption = Annotated[
    Numbers | None,
    typer.Option(
        parser=numbers("0.5,0.5,0.5"),
        metavar="LIST",
        help="What pixels / 255 - mean is divided by, a number for each channel. Default: the "
        "model's own; 1 for an ONNX file.",
    ),
]
ImagesOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|first:N",
        help="Use N images only, evenly spread over the file (which may be sorted by class), or "
        "its first N.",
    ),
]
BatchOption = Annotated[
    int, typer.Option(min=1, max=65_536, metavar="N", help="Images per inference.")
]
SeedOption = Annotated[
    int,
    typer.Option(min=0, max=2**32 - 1, help="Seed of random weights and of every random choice."),
]
WorkersOption = Annotated[
    int, typer.Option(min=1, max=256, metavar="N", help="Processes; the result is the same.")
]
DaskOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="A Dask scheduler, instead of --workers."),
]
JsonOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|-",
        help="Write the result as JSON; with - nothing else goes to standard output.",
    ),
]
RatesOption = Annotated[
    Numbers | None,
    typer.Option(
        parser=numbers("1e-4,2e-4"),
        metavar="LIST",
        help="Bit error rates instead of a scenario, all for one design.",
    ),
]
GoalsOption = Annotated[
    Numbers | None,
    typer.Option(
        parser=numbers("0.97,0.95"),
        metavar="LIST",
        help="Accuracy wanted at each --ber, relative to acc0, the fault-free accuracy.",
    ),
]
OwnRatesOption = Annotated[
    Numbers | None,
    typer.Option(
        parser=numbers("1.7e-3,3.4e-3"),
        metavar="I',II'",
        help="The network's own rates, where they are known; they are searched otherwise.",
    ),
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="A limit instead of the space's: cycles=1.1, traffic=0.1 (none: no limit), "
        "bandwidth=weights|total|bytes_per_cycle, perf=cycles|time; repeatable.",
    ),
]


def refuse_beside_rates(context: typer.Context) -> None:
    """Refuse a scenario and its rates beside --ber."""
    if is_given(context, "ber"):
        refuse_beside(context, ("scenario", "own_rates"), "--ber gives the rates")


ReuseOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE.db", help="Take what another study has evaluated; repeatable."),
]


def rate_pair(rates: Numbers | None) -> tuple[float, float] | None:
    """What --own-rates says."""
    if rates is None:
        return None
    if len(rates) != 2:
        raise FlexhycaError("own-rates: give two, such as 1.7e-3,3.4e-3")
    return rates[0], rates[1]


def limits_of(texts: Sequence[str] | None) -> dict[str, Any]:
    """Fields of `config.search.Limits` that --limit changes."""
    return dict(_limit(text) for text in texts or ())


def _limit(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise FlexhycaError(f"limit {text!r}: write KEY=VALUE, such as traffic=0.2")
    number = plain_number(value)
    return key, value if number is None else number

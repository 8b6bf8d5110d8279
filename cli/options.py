"""Options that several commands share, with the one help text of each."""

from pathlib import Path
from typing import Annotated, Literal

import typer

#: Formats that a plot can have.
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def check_suffix(option: str, path: Path | None, *suffixes: str) -> None:
    """Refuse a file whose name does not say which of these formats it has."""
    if path is not None and not path.name.lstrip(".").endswith(suffixes):
        *most, last = suffixes
        known = f"{', '.join(most)} or {last}" if most else last
        raise typer.BadParameter(f"{path} must end in {known}", param_hint=option)


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model (see `flexhyca models`) or an ONNX file (.onnx)."
    ),
]
ModelOrTopology = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model (see `flexhyca models`), an ONNX file (.onnx) or a SCALE-Sim topology file "
        "(.csv).",
    ),
]
ModelOrFile = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model (see `flexhyca models`), an ONNX file (.onnx), a SCALE-Sim topology file "
        "(.csv) or a compiled program (.fhx; cycles and traffic only).",
    ),
]
Placement = Annotated[
    Literal["gradient", "random", "clustered"] | None,
    typer.Option(
        help="Where important neurons are: by gradient (needs weights and images to mean anything; "
        "default), random, or clustered like a measured ranking (default for a topology).",
    ),
]
DEFAULT_CONFIG = "flexhyca-32x32"
ConfigName = Annotated[
    str,
    typer.Option(
        "--config",
        "-c",
        metavar="NAME|FILE",
        help="A shipped configuration (see `flexhyca config list`) or a YAML file.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Change one value of the configuration, for example dppu.size=64; repeatable.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Trained weights: .safetensors, .npz, or a torch file (loaded with weights_only).",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="An npz with `images` (u8, NHWC or NHW) and `labels`; the model's own otherwise.",
    ),
]


class Channels(tuple[float, ...]):
    """One number for each channel of the input."""


def _channels(text: str) -> Channels:
    try:
        return Channels(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of numbers, such as 0.5,0.5,0.5") from None


Mean = Annotated[
    Channels | None,
    typer.Option(
        parser=_channels,
        metavar="LIST",
        help="What is subtracted from pixels / 255, a number for each channel: 0.485,0.456,0.406. "
        "Default: the model's own; 0 for an ONNX file, which has none.",
    ),
]
Std = Annotated[
    Channels | None,
    typer.Option(
        parser=_channels,
        metavar="LIST",
        help="What pixels / 255 - mean is divided by, a number for each channel. Default: the "
        "model's own; 1 for an ONNX file.",
    ),
]
Images = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Use the first N images only.")
]
Batch = Annotated[int, typer.Option(min=1, metavar="N", help="Images per inference.")]
Seed = Annotated[
    int,
    typer.Option(min=0, max=2**32 - 1, help="Seed of random weights and of every random choice."),
]
Json = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|-",
        help="Write the result as JSON; with - nothing else goes to standard output.",
    ),
]

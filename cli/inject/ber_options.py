"""Options of ``flexhyca inject --faults ber``; the defaults of its model are `BerOptions`'."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...config.schemes import REDUNDANT_SCHEMES
from ..options import MOST_COUNT, Numbers, is_given, numbers


class Words(tuple[str, ...]):
    """Words between commas."""


def _given(context: typer.Context, param: typer.CallbackParam, value: int) -> int | None:
    """None for a default, so that the option can be refused where it would mean nothing."""
    return value if is_given(context, param.name or "") else None


def _words(text: str) -> Words:
    words = Words(part.strip() for part in text.split(","))
    if not all(words):
        raise typer.BadParameter(f"{text!r} has an empty name between its commas")
    return words


BerOption = Annotated[
    Numbers | None,
    typer.Option(
        parser=numbers("1e-4,2e-4"),
        metavar="LIST",
        help="ber: probability that a stored bit is wrong in an inference; the paper's rates I and "
        "II are the default, 1e-4,2e-4.",
    ),
]
FitPerMbitOption = Annotated[
    Numbers | None,
    typer.Option(
        parser=numbers("1e3,1e6"),
        metavar="LIST",
        help="ber: raw soft error rates instead, in FIT per Mbit; each bit then has the "
        "probability of its own live time at --clock-mhz.",
    ),
]
ClockMhzOption = Annotated[
    float,
    typer.Option(
        min=1e-3, max=1e6, metavar="MHZ", help="ber: clock that joins FIT and error rates."
    ),
]
SchemesOption = Annotated[
    Words | None,
    typer.Option(
        "--scheme",
        parser=_words,
        metavar="LIST",
        help="A protection scheme instead of the configuration's own (tmr_cl), such as base or "
        "tmr_crt1; `flexhyca compare` lists them. ber: several, compared on the same errors; "
        "tmr_cl@CONFIG is that of another configuration. Default there: base,tmr_cl.",
    ),
]
GoalOption = Annotated[
    Numbers | None,
    typer.Option(
        parser=numbers("0.97,0.95"),
        metavar="LIST",
        help="ber: accuracy wanted, relative to the fault-free one: a number for all rates, or one "
        "for each. Default: the paper's, 0.97 at the first rate and 0.95 at the others.",
    ),
]
ProtectedLayersOption = Annotated[
    Words | None,
    typer.Option(
        parser=_words,
        metavar="LAYERS",
        help=f"Layers that {' and '.join(REDUNDANT_SCHEMES)} compute three times, such as "
        "conv1,layer1.*; ber: chosen by their sensitivity otherwise.",
    ),
]
PerLayerOption = Annotated[
    bool,
    typer.Option(
        "--per-layer",
        help="ber: what protecting each layer (block) alone is worth, then all in this order.",
    ),
]
FindRateOption = Annotated[
    Numbers | None,
    typer.Option(
        parser=numbers("10,40"),
        metavar="LOW,HIGH",
        help="ber: find the rate at which the unprotected network loses between LOW and HIGH "
        "points, and so does its double.",
    ),
]
ChooseTrialsOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=MOST_COUNT,
        metavar="N",
        callback=_given,
        help=f"ber: patterns that choose the layers of {' and '.join(REDUNDANT_SCHEMES)}.",
    ),
]
BerStageOption = Annotated[
    Literal["before_relu", "after_relu"],
    typer.Option(help="ber: where neurons are stored: as the PEs hand them over, or finished."),
]
BerTargetOption = Annotated[
    Literal["neuron", "acc"],
    typer.Option(help="ber: what a neuron's bits are: its 8-bit result, or its accumulator."),
]
WeightFaultsOption = Annotated[
    Literal["pe", "raw", "none"],
    typer.Option(
        help="ber: wrong weight bits; pe: masked where the unit that reads them protects these "
        "bits, raw: never masked, none: ECC.",
    ),
]
ProtectedBitsOption = Annotated[
    Literal["ideal", "tmr_copies"],
    typer.Option(help="ber: protected bits are immune, or the majority of three that flip."),
]
BerLogitsOption = Annotated[
    bool, typer.Option("--ber-logits", help="ber: the last layer's outputs flip, too.")
]
BerInputOption = Annotated[
    bool, typer.Option("--ber-input", help="ber: the images' bits flip, too.")
]
ImagesPerPatternOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=MOST_COUNT,
        metavar="N",
        help="ber: images that share one pattern of wrong weights.",
    ),
]
OverImagesOption = Annotated[
    bool,
    typer.Option(
        "--over-images",
        help="ber: also the intervals over patterns and images, for other images of this kind; "
        "those of --json are there in any case.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(metavar="cpu|cuda", help="ber: where the network is computed; same results."),
]
PlotOption = Annotated[Path | None, typer.Option(metavar="FILE.png", help="ber: draw the result.")]

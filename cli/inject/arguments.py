"""The options of ``flexhyca inject``, and which of them go together; the models are in a table."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from ...errors import FlexhycaError
from ...faults.ber.options import CHOOSING_PATTERNS, BerOptions
from ...faults.campaign import MOST_TRIALS
from ...faults.campaign.lock import check_free
from ...faults.models import FAULT_MODELS, MACHINE_MODELS
from .. import output
from ..options import (
    DEFAULT_CONFIG,
    MOST_COUNT,
    ConfigOption,
    DaskOption,
    DataOption,
    ImagesOption,
    JsonOption,
    MeanOption,
    ModelArgument,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    WorkersOption,
    check_workers,
    is_given,
)
from . import ber_options as ber_
from . import machine
from .models import CAMPAIGNS, MODES
from .request import Request

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca inject digits --site layer=conv1,tile=0,cycle=9,row=3,col=4,reg=act,bit=6 "
    "--explain\n"
    "  flexhyca inject resnet20 --weights w.npz --data images.npz --faults register "
    "--trials 10000 --out study.db --workers 2\n"
    "  flexhyca inject digits --faults ber --ber 1e-3,2e-3 --scheme base,tmr_crt1,tmr_cl "
    "--margin 0.005 --out ber.db\n"
    "  flexhyca inject digits --faults ber --ber 1e-3 --per-layer --out layers.db --plot s.png\n"
    "  flexhyca inject digits --faults ber --find-rate 10,40 --out rates.db\n"
    "  flexhyca campaign show study.db\n"
)
_DEFAULTS = BerOptions()


UnitOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Draw from these units only, such as array or dppu,dppu_excess; see `flexhyca sites`. "
        "Shares are then of these.",
    ),
]
RegisterOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Draw from these registers only, such as acc,prod; ber: neurons, weights, input.",
    ),
]
LayersOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Only while these layers run, such as conv1,layer1.*; ber: only bits of these.",
    ),
]
ImagesPerFaultOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_COUNT,
        metavar="N",
        help="Images that meet the faults of a trial, which is then one cluster (1; 20 for bits "
        "that are stuck for ever).",
    ),
]
BesideOption = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="SITE",
        help="A wrong bit in every trial besides, such as a copy that is stuck for ever. "
        "Repeatable.",
    ),
]


def _model(name: str) -> str:
    if name not in FAULT_MODELS:
        raise typer.BadParameter(f"{name!r} is no fault model; use {' or '.join(FAULT_MODELS)}")
    return name


def command(
    context: typer.Context,
    model: ModelArgument,
    site: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SITE",
            help="A wrong bit: layer=NAME,tile=N,cycle=N,row=N,col=N (of buffers word=N),"
            "reg=NAME,bit=N[,unit=NAME][,copy=N][,stuck=0|1[,until=N]]; layer=*,tile=*: stuck for "
            "ever. Repeatable, all of them in one inference. See `flexhyca sites`.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell what the flip changed, and where it ended.")
    ] = False,
    image: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Image for --site.")
    ] = 0,
    faults: Annotated[
        str | None,
        typer.Option(
            parser=_model,
            metavar="|".join(FAULT_MODELS),
            help="A campaign of random faults. "
            + "; ".join(f"{name}: {kind.meaning}" for name, kind in FAULT_MODELS.items())
            + ".",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_TRIALS,
            metavar="N",
            help="Faults of the campaign (1000); ber: patterns under each scheme and rate (200, "
            "or at most 10000 with --margin).",
        ),
    ] = None,
    flips: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="Faults of each trial.")
    ] = 1,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Draw only where something stands that is still used; shows its share."
        ),
    ] = False,
    stuck_cycles: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**31 - 1,
            metavar="N",
            help="A bit is stuck for N cycles of its tile; 0: for ever, and each bit of the "
            "hardware is as likely.",
        ),
    ] = 0,
    unit: UnitOption = None,
    register: RegisterOption = None,
    layers: LayersOption = None,
    images_per_fault: ImagesPerFaultOption = None,
    beside: BesideOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.db",
            help="The campaign's file; run again to go on or extend. Without it nothing is kept.",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Stop when every interval over trials is at most +- X wide, 0.01 = 1 %.",
        ),
    ] = None,
    workers: WorkersOption = 1,
    dask: DaskOption = None,
    execution: Annotated[
        Literal["delta", "reference"],
        typer.Option(
            help="delta: exact corrections; reference: every register stepped (slow). They agree."
        ),
    ] = "delta",
    ber: ber_.BerOption = None,
    fit_per_mbit: ber_.FitPerMbitOption = None,
    clock_mhz: ber_.ClockMhzOption = 1000.0,
    scheme: ber_.SchemesOption = None,
    goal: ber_.GoalOption = None,
    protect: ber_.ProtectedLayersOption = None,
    per_layer: ber_.PerLayerOption = False,
    find_rate: ber_.FindRateOption = None,
    choose_trials: ber_.ChooseTrialsOption = CHOOSING_PATTERNS,
    ber_stage: ber_.BerStageOption = _DEFAULTS.stage,
    ber_target: ber_.BerTargetOption = _DEFAULTS.target,
    weight_faults: ber_.WeightFaultsOption = _DEFAULTS.weight_faults,
    protected_bits: ber_.ProtectedBitsOption = _DEFAULTS.protected,
    ber_logits: ber_.BerLogitsOption = _DEFAULTS.logits,
    ber_input: ber_.BerInputOption = _DEFAULTS.input,
    images_per_pattern: ber_.ImagesPerPatternOption = _DEFAULTS.images_per_pattern,
    over_images: ber_.OverImagesOption = False,
    device: ber_.DeviceOption = "cpu",
    plot: ber_.PlotOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    images: ImagesOption = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Flip bits while MODEL runs, and say what becomes of it.

    With --site one inference with exactly these faults; with --faults a campaign of random ones
    that can be interrupted and gone on with. MACHINE_MODELS: drawn in proportion to bits x cycles;
    what is stuck for ever by bits, of registers and of memories apart.
    ber: the accuracy of protection schemes at bit error rates, on the same errors (docs/ber.md).
    """
    if (site is None) == (faults is None):
        raise FlexhycaError("inject: give either --site or --faults")
    _check_options(context, _mode(faults, per_layer, find_rate))
    check_workers("inject", workers, dask)
    if margin is not None and not 0 < margin < 1:
        raise FlexhycaError(
            f"inject: --margin {margin:g} is not between 0 and 1; give 0.01 for 1 %"
        )
    own = {name: value for name, value in context.params.items() if name not in _SHARED}
    shared = {name: context.params[name] for name in _SHARED}
    request = Request(**{**shared, "set_": set_ or ()}, own=own)
    if faults is None:
        machine.one(request)
    elif out is not None:
        check_free(out)
        CAMPAIGNS[faults].run(request)
    else:
        with tempfile.TemporaryDirectory() as folder:
            CAMPAIGNS[faults].run(replace(request, out=Path(folder, "campaign.db"), kept=False))
        output.note("the campaign was not kept; with --out FILE.db it is, and can be gone on with")


command.__doc__ = (command.__doc__ or "").replace("MACHINE_MODELS", ", ".join(MACHINE_MODELS))
_SHARED = tuple(name for name in Request.__dataclass_fields__ if name not in ("own", "kept"))


def _check_options(context: typer.Context, mode: str) -> None:
    """Refuse an option that would mean nothing. mode : a name of `MODES`."""
    for name, option in ((p.name or "", p.opts[-1]) for p in context.command.params):
        if not is_given(context, name):
            continue
        of = [key for key, options in MODES.items() if name in options]
        if of and mode not in of:
            raise FlexhycaError(f"inject: {option} goes with {' or '.join(of)}, not with {mode}")


def _mode(faults: str | None, per_layer: bool, find_rate: object) -> str:
    """What is asked for, as `MODES` names it."""
    if faults is None:
        return "--site"
    if not CAMPAIGNS[faults].flows:
        return f"--faults {faults}"
    if per_layer and find_rate is not None:
        raise FlexhycaError("inject: give either --per-layer or --find-rate")
    return "--per-layer" if per_layer else "--faults ber" if find_rate is None else "--find-rate"

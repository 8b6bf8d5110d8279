"""``flexhyca inject``: flip bits in the registers of the array, one or many."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import FlexhycaError
from . import output
from .busy import busy
from .campaign import drive
from .options import (
    DEFAULT_CONFIG,
    ConfigName,
    Data,
    Images,
    Json,
    Mean,
    Model,
    Seed,
    Set,
    Std,
    Weights,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..api import Build

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca inject digits --site layer=conv1,tile=0,cycle=9,row=3,col=4,reg=act,bit=6 "
    "--explain\n"
    "  flexhyca inject resnet20 --weights w.npz --data images.npz --faults register "
    "--trials 10000 --out study.db --workers 2\n"
    "  flexhyca campaign show study.db\n"
)


def command(
    model: Model,
    site: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SITE",
            help="A flip: layer=NAME,tile=N,cycle=N,row=N,col=N,reg=act|wgt|prod|acc,bit=N[,copy=N]"
            "; repeatable, all of them in one inference. See `flexhyca sites`.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell what the flip changed, and where it ended.")
    ] = False,
    image: Annotated[int, typer.Option(min=0, metavar="N", help="Image for --site.")] = 0,
    faults: Annotated[
        Literal["register"] | None,
        typer.Option(help="A campaign of random faults; register: transient flips in the array."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Faults of the campaign.")] = 1000,
    flips: Annotated[int, typer.Option(min=1, metavar="N", help="Flips of each trial.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.db", help="The campaign's file; run again to go on or extend."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Stop when every interval is at most +- X wide, 0.01 = 1 %."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = 1,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, instead of --workers."),
    ] = None,
    execution: Annotated[
        Literal["delta", "reference"],
        typer.Option(
            help="delta: exact corrections; reference: every register stepped (slow). They agree."
        ),
    ] = "delta",
    config: ConfigName = DEFAULT_CONFIG,
    set_: Set = None,
    weights: Weights = None,
    data: Data = None,
    mean: Mean = None,
    std: Std = None,
    images: Images = None,
    json: Json = None,
    seed: Seed = 0,
) -> None:
    """Flip bits of registers while MODEL runs, and say what becomes of them.

    With --site one inference with exactly these flips; with --faults a campaign of random ones,
    drawn in proportion to bits x cycles, that can be interrupted and gone on with. Only the 2-D
    array's registers (dataflow os) are modelled so far.
    """
    from .. import api
    from ..config import load_config

    if (site is None) == (faults is None):
        raise FlexhycaError("inject: give either --site or --faults")
    if faults and out is None:
        raise FlexhycaError("inject: --faults needs --out FILE.db, where the campaign is kept")
    output.check_target(json, out)
    settings = load_config(config, set_ or ())
    with busy() as say:
        built = api.build(
            model, settings, weights=weights, data=data, mean=mean, std=std, seed=seed, say=say
        )
    output.warn(built.warnings)
    if built.model is None or built.data is None:
        raise FlexhycaError(f"{model}: faults need images; give an npz with --data FILE")
    chosen = built.data[:images]
    inputs = api.quantize_images(built.model, built.network, chosen.images)
    if site is not None:
        if image >= len(inputs):
            raise FlexhycaError(f"inject: image {image} is outside 0..{len(inputs) - 1}")
        _one(built, inputs[image], site, explain, json)
        return
    assert out is not None
    from ..faults.registers import RegisterFaults

    with tempfile.TemporaryDirectory() as folder:
        files = _write_inputs(built, inputs, Path(folder))
        experiment = RegisterFaults(*files, seed, flips, execution)
        finished = drive(experiment, out, trials, workers, dask, margin)
    intervals = [(estimate.label, estimate.interval) for estimate in finished.estimates]
    output.write_json(
        json,
        {
            "campaign": str(out),
            "trials": finished.trials,
            "results": [{"what": label, **interval.to_dict()} for label, interval in intervals],
        },
    )
    if json != output.STDOUT:
        output.table(("outcome", "share"), ((label, str(i)) for label, i in intervals))


def _one(
    built: Build, image: NDArray[np.int8], texts: list[str], explain: bool, json: str | None
) -> None:
    from ..faults.explain import explain as story
    from ..faults.outcomes import outcome, output_hash
    from ..simulator.fault_run import FaultRun
    from ..simulator.sites import parse_site

    sites = [parse_site(text) for text in texts]
    run = FaultRun(built.program, image)
    result = run.run(sites)
    name = outcome(run.golden, result.output, result.masked)
    report = {
        "trials": [
            {
                "index": 0,
                "site": "; ".join(map(str, sites)),
                "outcome": name,
                "output_hash": output_hash(result.output),
            }
        ]
    }
    output.write_json(json, report)
    if json == output.STDOUT:
        return
    if explain:
        print("\n".join(story(run, sites, result)))
    else:
        print(f"{name} (output {output_hash(result.output)})")


def _write_inputs(built: Build, inputs: NDArray[np.int8], folder: Path) -> tuple[Path, Path]:
    """The program and the images as files, for the processes of a campaign."""
    import numpy as np

    from ..isa.program import save

    program, images = folder / "program.fhx", folder / "images.npy"
    save(built.program, program)
    np.save(images, inputs, allow_pickle=False)
    return program, images

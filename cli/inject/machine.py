"""``flexhyca inject`` for what the machine stores: named faults, and campaigns of random ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ...errors import FlexhycaError
from ...faults.models import machine_model
from .. import output
from ..campaign import drive
from .request import Request, names

_TRIALS = 1000
_IMAGES = 20  # that meet a bit that is stuck for ever


def one(request: Request) -> None:
    """The flips of --site, all in one inference."""
    from ...faults.machine.outcomes import outcome, output_hash
    from ...faults.story.explain import explain as story
    from ...simulator.inject.fault_run import FaultRun
    from ...simulator.inject.sites import parse_site

    output.check_target(request.json)
    built, inputs = request.build()
    image = request.own["image"]
    if image >= len(inputs):
        raise FlexhycaError(f"inject: image {image} is outside 0..{len(inputs) - 1}")
    sites = [parse_site(text) for text in request.own["site"]]
    run = FaultRun(built.program, inputs[image])
    result = run.run(sites)
    name = outcome(run.golden, result.output, result.masked, result.failure)
    digest = None if result.failure else output_hash(result.output)
    lines = list(story(run, sites, result)) if request.own["explain"] else []
    report = {
        "trials": [
            {
                "index": 0,
                "site": "; ".join(map(str, sites)),
                "outcome": name,
                "output_hash": digest,
                **({"story": lines} if lines else {}),
            }
        ]
    }
    output.write_json(request.json, report)
    if request.json == output.STDOUT:
        return
    if lines:
        print("\n".join(lines))
    else:
        print(f"{name} ({result.reason or f'output {digest}'})")


def campaign(request: Request, model: str) -> None:
    """--faults MODEL of what a machine stores: random faults, kept in --out."""
    import numpy as np

    from ...faults.machine.experiment import MachineFaults
    from ...faults.machine.part import Part
    from ...isa.program_file import save
    from ...simulator.inject.sites import parse_site

    out, own = request.file, request.own
    output.check_target(request.json, studies=[out])
    part = Part(*(names(own[name], name) for name in ("unit", "register", "layers")))
    beside = [str(parse_site(text)) for text in own["beside"] or ()]
    built, inputs = request.build()
    assert built.data is not None
    known = built.data.labels
    with tempfile.TemporaryDirectory() as folder:
        program, images = Path(folder, "program.fhx"), Path(folder, "images.npy")
        save(built.program, program)
        np.save(images, inputs, allow_pickle=False)
        labels = None if known is None else Path(folder, "labels.npy")
        if labels is not None and known is not None:
            np.save(labels, known[: len(inputs)], allow_pickle=False)
        for_ever = machine_model(model).fault == "stuck" and not own["stuck_cycles"]
        experiment = MachineFaults(
            program,
            images,
            request.seed,
            own["flips"],
            own["execution"],
            model,
            own["live"],
            own["stuck_cycles"],
            labels,
            part=part,
            images_per_fault=own["images_per_fault"] or (_IMAGES if for_ever else 1),
            beside=beside,
        )
        trials = (request.trials or _TRIALS) * experiment.together
        finished = drive(
            experiment,
            out,
            trials,
            request.workers,
            request.dask,
            request.margin,
            request.kept,
        )
        live = experiment.live_share if own["live"] else None
        drawn_from = experiment.drawn_from
    intervals = [(estimate.label, estimate.interval) for estimate in finished.estimates]
    output.write_json(
        request.json,
        {
            "campaign": request.name,
            "model": built.network.name,
            "config": built.program.config.name,
            "faults": model,
            "trials": finished.trials,
            "seed": request.seed,
            "part": part.to_dict(),
            "drawn_from": drawn_from,
            "images_per_fault": experiment.images_per_fault,
            "live": live,
            "results": [{"what": label, **interval.to_dict()} for label, interval in intervals],
        },
    )
    if request.json != output.STDOUT:
        output.print_table(("outcome", "share"), ((label, str(i)) for label, i in intervals))
        print(f"of {drawn_from}")
        if live is not None:
            print(f"of faults in what is still used, {live:.2%} of what could be drawn from")

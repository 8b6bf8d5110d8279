"""``flexhyca inject`` for registers: flips that are named, and campaigns of random ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..errors import FlexhycaError
from . import output
from .campaign import drive
from .inject_request import Request

_TRIALS = 1000


def one(request: Request) -> None:
    """The flips of --site, all in one inference."""
    from ..faults.explain import explain as story
    from ..faults.outcomes import outcome, output_hash
    from ..simulator.fault_run import FaultRun
    from ..simulator.sites import parse_site

    output.check_target(request.json)
    built, inputs = request.build()
    image = request.own["image"]
    if image >= len(inputs):
        raise FlexhycaError(f"inject: image {image} is outside 0..{len(inputs) - 1}")
    sites = [parse_site(text) for text in request.own["site"]]
    run = FaultRun(built.program, inputs[image])
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
    output.write_json(request.json, report)
    if request.json == output.STDOUT:
        return
    if request.own["explain"]:
        print("\n".join(story(run, sites, result)))
    else:
        print(f"{name} (output {output_hash(result.output)})")


def campaign(request: Request) -> None:
    """--faults register: random flips, kept in --out."""
    import numpy as np

    from ..faults.registers import RegisterFaults
    from ..isa.program import save

    out = request.file
    output.check_target(request.json, out)
    built, inputs = request.build()
    with tempfile.TemporaryDirectory() as folder:
        program, images = Path(folder, "program.fhx"), Path(folder, "images.npy")
        save(built.program, program)
        np.save(images, inputs, allow_pickle=False)
        own = request.own
        experiment = RegisterFaults(program, images, request.seed, own["flips"], own["execution"])
        trials = request.trials or _TRIALS
        finished = drive(experiment, out, trials, request.workers, request.dask, request.margin)
    intervals = [(estimate.label, estimate.interval) for estimate in finished.estimates]
    output.write_json(
        request.json,
        {
            "campaign": str(out),
            "trials": finished.trials,
            "results": [{"what": label, **interval.to_dict()} for label, interval in intervals],
        },
    )
    if request.json != output.STDOUT:
        output.table(("outcome", "share"), ((label, str(i)) for label, i in intervals))

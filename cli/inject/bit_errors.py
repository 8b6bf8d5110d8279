"""``flexhyca inject --faults ber``: from the options to a study, and to one of its questions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import FlexhycaError
from .. import output
from ..busy import busy
from ..campaign import drive
from ..options import check_suffix
from .request import Request, names

if TYPE_CHECKING:
    from ...faults.ber.programs import ProgramSet
    from ...faults.ber.study import Drive, StudyOptions

#: Options of `inject` that mean something in each flow of this model, but for those of all.
FIND_RATE = frozenset(
    {
        *("ber_stage", "ber_target", "weight_faults", "protected_bits", "ber_logits", "ber_input"),
        *("images_per_pattern", "device", "plot", "clock_mhz", "find_rate"),
        *("register", "layers"),
    }
)
PER_LAYER = FIND_RATE - {"find_rate"} | {"ber", "fit_per_mbit", "goal", "per_layer"}
COMPARE = PER_LAYER - {"per_layer"} | {"scheme", "protect", "choose_trials", "over_images"}


def run_bit_errors(request: Request) -> None:
    """--faults ber, in one of its flows."""
    from ...faults.ber.questions import files
    from ...faults.ber.study import BerStudy
    from . import find_rate, per_layer, schemes

    own, plot = request.own, request.own["plot"]
    check_suffix("--plot", plot, ".png", ".svg", ".pdf")
    output.check_target(request.json, files=[plot], studies=files(request.file))
    if own["ber"] is not None and own["fit_per_mbit"] is not None:
        raise FlexhycaError("inject: give either --ber or --fit-per-mbit")
    with tempfile.TemporaryDirectory() as folder:
        options = _options(request)
        with busy() as say:
            say("quantising")
            programs = _programs(request, Path(folder))
            study = BerStudy(programs, request.settings, options, request.seed, _drive(request))
        if own["find_rate"] is not None:
            find_rate.report_rates(request, study)
        elif own["per_layer"]:
            per_layer.report_layers(request, study)
        else:
            schemes.report_schemes(request, study)


def _options(request: Request) -> StudyOptions:
    from ...faults.ber.options import BerOptions
    from ...faults.ber.study import StudyOptions, check_device

    own = request.own
    check_device(own["device"])
    return StudyOptions(
        BerOptions(
            own["ber_stage"],
            own["ber_target"],
            own["weight_faults"],
            own["protected_bits"],
            own["ber_logits"],
            own["ber_input"],
            own["images_per_pattern"],
        ),
        rates=own["ber"],
        fits=own["fit_per_mbit"],
        clock_hz=float(own["clock_mhz"]) * 1e6,
        goals=own["goal"] or (),
        patterns=request.trials,
        margin=request.margin,
        device=own["device"],
        layers=names(own["layers"], "layers"),
        memories=names(own["register"], "register"),
    )


def _programs(request: Request, folder: Path) -> ProgramSet:
    from ... import api
    from ...faults.ber.programs import ProgramSet

    model = api.load_model(
        request.model, request.weights, seed=request.seed, mean=request.mean, std=request.std
    )
    output.warn(model.warnings)
    if request.data is None and not api.has_images(request.model):
        raise FlexhycaError(f"{request.model}: faults need images; give an npz with --data FILE")
    data = api.load_data(model, request.data)
    calibration = api.calibration_data(model, data, seed=request.seed)
    return ProgramSet(model, data.chosen(request.images), calibration, folder)


def _drive(request: Request) -> Drive:
    """Campaigns with a bar and notes, in the workers that were asked for."""
    return lambda experiment, file, trials, margin: drive(
        experiment, file, trials, request.workers, request.dask, margin, request.kept
    )

"""``flexhyca accuracy``: what the truncation constraint costs (the paper's Fig. 11 curve)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import choices
from . import output
from .options import (
    DEFAULT_CONFIG,
    PLOT_SUFFIXES,
    ConfigOption,
    DataOption,
    ImagesOption,
    JsonOption,
    MeanOption,
    ModelArgument,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    check_suffix,
)

if TYPE_CHECKING:
    from ..api import Dataset
    from ..compiler.model import Model as FloatModel
    from ..config import Config

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca accuracy digits\n"
    "  flexhyca accuracy resnet20 --weights w.npz --data images.npz --q-scale 0..16 \\\n"
    "      --overflow slice,saturate --json - --plot curve.png --csv curve.csv\n"
)

_RULES = choices("arithmetic.overflow")
POINT_COLUMNS = ("overflow", "q_scale", "accuracy", "low", "high", "correct", "images", "error")


def command(
    model: ModelArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    images: ImagesOption = None,
    q_scale: Annotated[
        str, typer.Option(metavar="LIST", help="Values to try: 0..16, or 0,4,8, or 7.")
    ] = "0..16",
    overflow: Annotated[
        str,
        typer.Option(metavar="LIST", help=f"Overflow rules to try: {', '.join(_RULES)}, or both."),
    ] = ",".join(_RULES),
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the curve (.png, .svg or .pdf).")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the points as CSV.")
    ] = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Accuracy of the quantised MODEL over q_scale, the lowest legal truncation bit.

    A higher q_scale lets the protection cover fewer accumulator columns and costs accuracy. Nothing
    is injected here: every point is fault-free. A point that cannot be quantised says why.
    """
    from .. import api
    from ..config import load_config

    rules = _rules(overflow)
    steps = _steps(q_scale)
    output.check_target(json, csv, files=[plot])
    check_suffix("--plot", plot, *PLOT_SUFFIXES)
    base = load_config(config, set_ or ())
    configs = [
        load_config(config, [*(set_ or ()), f"arithmetic.overflow={r}", f"protection.q_scale={q}"])
        for r in rules
        for q in steps
    ]
    network = api.load_model(model, weights, seed=seed, mean=mean, std=std)
    output.warn(network.warnings)
    dataset = api.load_data(network, data).chosen(images)
    points = []
    with output.progress("q_scale", len(configs)) as step:
        exact = api.float_accuracy(network, dataset)
        for point in configs:
            points.append(_measure(network, dataset, point, seed))
            step(1)
    exact_share = output.accuracy_interval(exact, len(dataset), seed)
    result = {
        "model": model,
        "config": base.name,
        "config_hash": base.config_hash,
        "images": len(dataset),
        "seed": seed,
        "float": exact,
        "float_interval": [exact_share.low, exact_share.high],
        "points": points,
    }
    if csv is not None:
        output.write_text(csv, output.csv_text(POINT_COLUMNS, points))
    if plot is not None:
        output.write_file(plot, lambda path: _draw(path, result))
    output.write_json(json, result)
    if json != output.STDOUT:
        _show(result, rules)


def _measure(model: FloatModel, data: Dataset, config: Config, seed: int) -> dict[str, Any]:
    """One point of the curve."""
    from .. import api
    from ..errors import QuantisationError

    point: dict[str, Any] = {
        "overflow": config.arithmetic.overflow,
        "q_scale": config.protection.q_scale,
        "accuracy": None,
        "low": None,
        "high": None,
        "correct": None,
        "images": len(data),
        "error": None,
    }
    try:
        network = api.quantise(model, config, data, seed=seed)
    except QuantisationError as error:
        return point | {"error": str(error)}
    exact = api.int8_accuracy(model, network, data)
    found = output.accuracy_interval(exact, len(data), seed)
    bounds = {"low": found.low, "high": found.high}
    return point | bounds | {"accuracy": exact, "correct": round(exact * len(data))}


def _steps(text: str) -> list[int]:
    """ "0..16" or "0,4,8" as a list of whole numbers, each once, in order."""
    steps: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        try:
            if not part.isascii() or "_" in part:  # which int reads
                raise ValueError
            low = int(first)
            high = int(last) if dots else low
        except ValueError:
            low, high = 1, 0
        if not 0 <= low <= high <= 30:
            raise typer.BadParameter(
                f"{part.strip()!r} is no q_scale; write 0..16, or 0,4,8, or 7",
                param_hint="--q-scale",
            )
        steps.update(range(low, high + 1))
    return sorted(steps)


def _rules(text: str) -> list[str]:
    rules = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for rule in rules:
        if rule not in _RULES:
            raise typer.BadParameter(
                f"{rule!r} is no overflow rule; write {', '.join(_RULES)} or {','.join(_RULES)}",
                param_hint="--overflow",
            )
    return rules


def _draw(path: Path, result: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(100 * result["float"], color="0.5", linestyle="--", label="float")
    for rule in dict.fromkeys(point["overflow"] for point in result["points"]):
        curve = [
            (point["q_scale"], *(100 * point[name] for name in ("low", "accuracy", "high")))
            for point in result["points"]
            if point["overflow"] == rule and point["accuracy"] is not None
        ]
        if curve:
            x, low, y, high = zip(*curve, strict=True)
            axes.plot(x, y, marker="o", label=rule)
            axes.fill_between(x, low, high, alpha=0.15)
    axes.set_xlabel("q_scale (lowest legal truncation bit)")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(f"{result['model']}, {result['images']} images, no faults, 95 % bands")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def _show(result: dict[str, Any], rules: list[str]) -> None:
    images, seed = result["images"], result["seed"]
    exact = output.accuracy_interval(result["float"], images, seed)
    print(
        f"{result['model']}: float accuracy {exact.brief}, {images:,} images, 95 % "
        f"intervals, seed {seed}"
    )

    def text(accuracy: float | None) -> str:
        return "-" if accuracy is None else output.accuracy_interval(accuracy, images, seed).brief

    cells = {(p["overflow"], p["q_scale"]): p for p in result["points"]}
    output.print_table(
        ("q_scale", *rules),
        (
            (q, *(text(cells[rule, q]["accuracy"]) for rule in rules))
            for q in sorted({q for _, q in cells})
        ),
    )
    for point in result["points"]:
        if point["error"]:
            output.note(f"q_scale {point['q_scale']} {point['overflow']}: {point['error']}")

"""``flexhyca schemes``: what every protection scheme costs a network in cycles and traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import FlexhycaError
from . import output
from .options import (
    DEFAULT_CONFIG,
    PLOT_SUFFIXES,
    BatchOption,
    ConfigOption,
    DataOption,
    JsonOption,
    MeanOption,
    PlacementOption,
    ProtectOption,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    WorkersOption,
    check_suffix,
    split_names,
)
from .source import ShapeSource

if TYPE_CHECKING:
    from ..config import Config

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca schemes\n"
    "  flexhyca schemes digits --protect conv2,conv3\n"
    "  flexhyca schemes resnet50 --placement clustered --protect 'layer3.*' --plot schemes.png\n"
)
_CAUSES = ("tables", "operands", "instructions", "other")
_NAMED = 6  # protected layers that are named in the table's head


def command(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A model (see `flexhyca models`), an ONNX file (.onnx) or a SCALE-Sim topology "
            "file (.csv); without it the schemes are listed.",
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    scheme: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Only these, such as tmr_arch,tmr_cl. Default: all."),
    ] = None,
    protect: ProtectOption = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    batch: BatchOption = 1,
    placement: PlacementOption = None,
    workers: WorkersOption = 1,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw cycles and extra traffic (.png, .svg or .pdf)."),
    ] = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Compare the protection schemes on MODEL: cycles, DRAM traffic, extra traffic (paper, Fig. 8).

    All run on the machine of the configuration; a scheme replaces its protection, and tmr_cl is
    that protection. Extra traffic is bytes beyond those of base over the bytes of the weights.
    """
    from ..config import load_config
    from ..config.schemes import REDUNDANT_SCHEMES, SCHEMES, with_scheme

    if model is None:
        output.write_json(json, {s.name: {"paper": s.paper, "meaning": s.meaning}
                                 for s in SCHEMES.values()})  # fmt: skip
        if json != output.STDOUT:
            rows = ((s.name, s.paper, s.meaning) for s in SCHEMES.values())
            output.print_table(("scheme", "paper", "meaning"), rows)
        return
    output.check_target(json, plot)
    check_suffix("--plot", plot, *PLOT_SUFFIXES)
    settings = load_config(config, set_ or ())
    layers = split_names(protect)
    configs = {name: with_scheme(settings, name, layers) for name in split_names(scheme) or SCHEMES}
    if layers and all(c.protection.redundancy == "none" for c in configs.values()):
        raise FlexhycaError(
            f"--protect: {','.join(configs)} computes nothing three times; leave it out, or add "
            f"{' or '.join(REDUNDANT_SCHEMES)} to --scheme"
        )
    _leave_out_unnamed(configs)
    source = ShapeSource(model, weights, data, (mean, std), batch, seed)
    report = _compare(source, settings, configs, placement, workers)
    if plot is not None:
        from ..report.schemes import draw_schemes

        title = f"{report['model']} on {report['config']}"
        if report["protected_layers"]:
            title += f"; computed three times: {report['protected_macs']:.0%} of the products"
        output.write_file(plot, lambda path: draw_schemes(path, title, report["schemes"]))
    output.write_json(json, report)
    if json != output.STDOUT:
        _show(report)


def _leave_out_unnamed(configs: dict[str, Config]) -> None:
    """Drop schemes that protect layers, and nobody has said which."""
    unnamed = [
        name
        for name, config in configs.items()
        if config.protection.redundancy != "none" and not config.protection.redundant_layers
    ]
    if not unnamed:
        return
    wanted = "name the sensitive layers with --protect LAYER,... ('*' is all of them)"
    if len(unnamed) == len(configs):
        raise FlexhycaError(f"schemes {', '.join(unnamed)}: {wanted}")
    output.note(f"left out: {', '.join(unnamed)}; {wanted}")
    for name in unnamed:
        del configs[name]


def _compare(
    source: ShapeSource,
    settings: Config,
    configs: dict[str, Config],
    placement: str | None,
    workers: int,
) -> dict[str, Any]:
    from ..config.schemes import with_scheme
    from ..dse.schemes import BASE, compare, protected_share

    place = placement or ("gradient" if source.model is not None else "clustered")
    base = with_scheme(settings, BASE)
    with output.progress(
        "schemes", len({base.config_hash, *(c.config_hash for c in configs.values())})
    ) as step:
        rows = compare(source.subject, base, configs, lambda: source.rank(place), workers, step)
    redundant = [c for c in configs.values() if c.protection.redundancy != "none"]
    protected, share = protected_share(source.subject, redundant[0]) if redundant else ([], 0.0)
    important = any(row["important_neurons"] for row in rows)
    return {
        "model": source.network.name,
        "config": settings.name,
        "batch": source.batch,
        "seed": source.seed,
        "placement": place if important else None,
        "weight_bytes": source.subject.weight_bytes,
        "protected_layers": protected,
        "protected_macs": share,
        "schemes": rows,
    }


def _show(report: dict[str, Any]) -> None:
    print(f"{report['model']} on {report['config']}, {report['weight_bytes']:,} bytes of weights")
    protected = report["protected_layers"]
    if protected:
        more = f" and {len(protected) - _NAMED} more" if len(protected) > _NAMED else ""
        print(
            f"  computed three times: {', '.join(protected[:_NAMED])}{more}, "
            f"{report['protected_macs']:.1%} of the products"
        )
    if report["placement"]:
        print(f"  important neurons by {report['placement']}")
    print()
    output.print_table(
        ("scheme", "cycles", "/ base", "DRAM bytes", "extra", *_CAUSES),
        (
            (
                row["scheme"],
                row["total_cycles"],
                f"{row['cycles_over_base']:.3f}",
                row["dram_total"],
                *(f"{row[f'extra_{part}']:.1%}" for part in ("total", *_CAUSES)),
            )
            for row in report["schemes"]
        ),
    )

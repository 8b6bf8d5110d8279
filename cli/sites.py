"""``flexhyca sites``: what can be hit while a network runs."""

from __future__ import annotations

from typing import Any

from . import output
from .busy import busy
from .options import (
    DEFAULT_CONFIG,
    ConfigOption,
    DataOption,
    JsonOption,
    MeanOption,
    ModelArgument,
    ProtectOption,
    SchemeOption,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    load_settings,
)

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca sites digits\n"
    "  flexhyca sites digits --scheme tmr_crt1\n"
    "  flexhyca sites resnet20 --weights w.npz --data images.npz --json sites.json\n"
)


def command(
    model: ModelArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    scheme: SchemeOption = None,
    protect: ProtectOption = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """List registers and buffers with their bits, cycles and the live share of them.

    A protected bit counts three times, once for each copy; so do the registers of a layer that is
    computed three times. `live` is the share of bits x cycles in which what is stored there is
    still used; a flip at another time is masked as idle. Buffers are listed for the whole run.
    """
    from .. import api
    from ..faults.machine.population import strata
    from ..simulator.text.spans import Spans

    output.check_target(json)
    settings = load_settings(config, set_ or (), scheme, protect)
    with busy() as say:
        built = api.build(
            model, settings, weights=weights, data=data, mean=mean, std=std, seed=seed, say=say
        )
    output.warn(built.warnings)
    fields = (
        "layer",
        "unit",
        "register",
        "bits",
        "flip_flops",
        "places",
        "tiles",
        "cycles",
        "live",
    )
    rows: list[dict[str, Any]] = [
        {name: getattr(row, name) for name in fields} for row in strata(Spans(built.program))
    ]
    output.write_json(json, {"model": built.network.name, "config": settings.name, "rows": rows})
    if json != output.STDOUT:
        columns = ("layer", "unit", "register", "bits", "copies", *fields[5:])
        output.print_table(
            columns, ((*(row[c] for c in fields[:-1]), f"{row['live']:.1%}") for row in rows)
        )
        print(
            "\nbits: of the word; copies: stored bits of a place; cycles: a place is exposed, over "
            "all tiles; layer *: the whole run"
        )

"""``flexhyca config``: list, show and check accelerator configurations."""

from pathlib import Path
from typing import Annotated

import typer

from . import output
from .options import JsonOption, SetOption

app = typer.Typer(no_args_is_help=True, help="List, show and check accelerator configurations.")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A shipped name or a YAML file.")
]


@app.command("list", epilog="\b\nExample:\n  flexhyca config list\n")
def list_command(json: JsonOption = None) -> None:
    """List the shipped configurations."""
    from ..config import list_configs, load_config

    output.check_target(json)
    configs = [load_config(name) for name in list_configs()]
    output.write_json(json, [{"name": c.name, "config_hash": c.config_hash} for c in configs])
    if json != output.STDOUT:
        output.print_table(
            ("name", "array", "dppu", "reuse", "s_th", "ib_th", "nb_th", "q_scale", "overflow"),
            (
                (
                    c.name,
                    f"{c.array.rows}x{c.array.cols}",
                    c.dppu.size,
                    c.dppu.data_reuse if c.dppu.size else "-",
                    c.protection.s_th,
                    c.protection.ib_th,
                    c.protection.nb_th,
                    c.protection.q_scale,
                    c.arithmetic.overflow,
                )
                for c in configs
            ),
        )


@app.command(
    "show",
    epilog="\b\nExamples:\n"
    "  flexhyca config show flexhyca-32x32 --explain\n"
    "  flexhyca config show hyca-32x32 --set dppu.size=64 > mine.yaml\n",
)
def show_config(
    name: NameArgument = "flexhyca-32x32",
    set_: SetOption = None,
    explain: Annotated[bool, typer.Option(help="Say what each field means.")] = False,
    json: JsonOption = None,
) -> None:
    """Print a configuration with every default filled in, as YAML that can be loaded again."""
    from .. import config

    output.check_target(json)
    loaded = config.load_config(name, set_ or ())
    output.write_json(json, {**loaded.model_dump(mode="json"), "config_hash": loaded.config_hash})
    if json != output.STDOUT:
        print(config.explain_config(loaded) if explain else config.to_yaml(loaded), end="")


@app.command("check", epilog="\b\nExample:\n  flexhyca config check mine.yaml other.yaml\n")
def check_config(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML files.")],
    json: JsonOption = None,
) -> None:
    """Check YAML files; every problem of every file is reported."""
    from ..config import load_config
    from ..errors import ConfigError

    output.check_target(json)
    good, problems = [], []
    for file in files:
        try:
            config = load_config(file)
        except ConfigError as error:
            problems.append(str(error))
        else:
            good.append({"file": str(file), "name": config.name, "config_hash": config.config_hash})
    if problems:
        raise ConfigError("\n".join(problems))
    output.write_json(json, good)
    if json != output.STDOUT:
        for entry in good:
            print(f"{entry['file']}: ok (name {entry['name']}, hash {entry['config_hash'][:12]})")

"""A command for the engine's tests, as `inject` will be: `python -m ...drive FILE JSON`."""

import json
from pathlib import Path

import typer

import flexhyca.cli as cli
from flexhyca.cli.campaign import drive
from flexhyca.tests.faults.campaign.experiments import Drawn


def command(file: Path, options: str) -> None:
    given = json.loads(options)
    experiment = Drawn(**given.pop("experiment", {}))
    finished = drive(experiment, file, **given)
    print(f"{finished.trials} {finished.stopped}")


if __name__ == "__main__":
    cli.app = typer.Typer()
    cli.app.command()(command)
    cli.main()

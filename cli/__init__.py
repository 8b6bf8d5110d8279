"""The command line: one module per sub-command, heavy imports inside the functions.

Results go to standard output, everything else (progress, warnings, errors) to standard error.
Exit codes: 0 done, 1 a bug of ours, 2 something the user can mend (one line, nothing half-written).
"""

import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, NoReturn

import typer

from ..errors import FlexhycaError, InternalError, first_line
from ..interrupts import listen
from . import (
    accuracy,
    area,
    asm,
    bits,
    campaign,
    compare,
    compile,
    config,
    disasm,
    hdl,
    inject,
    models,
    optimise,
    output,
    simulate,
    sites,
    study,
    sweep,
)

app = typer.Typer(
    name="flexhyca",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: keeps the layout of the examples, starts faster
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Simulate a neural network on FlexHyCA, an accelerator that protects important neurons.",
    epilog="\b\nExamples:\n"
    "  flexhyca simulate digits --images 360\n"
    "  flexhyca simulate resnet20 --weights w.npz --data images.npz --set dppu.size=64 --json -\n"
    "  flexhyca config show flexhyca-32x32 --explain\n",
)

#: Bytes; with less, torch and LLVM may end the process on their own (seen up to 1.3e9).
_LEAST_MEMORY = 3 << 29
#: On CPUs torch has no class of its own for this error.
_TORCH_MEMORY = "DefaultCPUAllocator: can't allocate memory"

_COMMANDS = (
    *(
        simulate,
        optimise,
        bits,
        sweep,
        compare,
        inject,
        sites,
        compile,
        disasm,
        asm,
        accuracy,
        models,
    ),
)
for module in _COMMANDS:
    app.command(module.__name__.rpartition(".")[2], epilog=module.EXAMPLES)(module.command)
app.command("optimize", hidden=True, epilog=optimise.EXAMPLES)(optimise.command)
app.add_typer(area.app, name="area")
app.add_typer(campaign.app, name="campaign")
app.add_typer(config.app, name="config")
app.add_typer(hdl.app, name="hdl")
app.add_typer(study.app, name="study")


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"flexhyca {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


def _require_memory() -> None:
    """Refuse what is too little for torch and numba, which then end the process themselves."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_MEMORY:
        raise FlexhycaError(
            f"memory is limited to {limit >> 20} MiB (ulimit -v), and commands that take a model "
            f"need {_LEAST_MEMORY >> 20} at least; raise the limit"
        )


def _telling(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command; what it is given is known to `output`, which overwrites none of it."""

    @wraps(command)
    def told(**values: Any) -> None:
        if "model" in values:
            _require_memory()
        output.begin(values.values())
        command(**values)

    return told


for _app in (app, *(group.typer_instance for group in app.registered_groups)):
    for _info in _app.registered_commands if _app else ():
        _info.callback = _info.callback and _telling(_info.callback)


def main() -> None:
    """Run the command line; errors that the user can mend become one line each and exit code 2."""
    listen()
    output.open_streams()
    output.show_warnings()
    try:
        try:
            app(prog_name="flexhyca")
        finally:
            sys.stdout.flush()
    except SystemExit as ended:
        # typer makes Exit(130) of Ctrl-C; a command that caught it has said its own line.
        cause = ended.__context__ and ended.__context__.__cause__
        if isinstance(cause, KeyboardInterrupt):
            output.note("interrupted; no result was written")
        raise
    except FlexhycaError as error:
        for line in str(error).splitlines():
            output.note(f"error: {line}")
        sys.exit(2)
    except InternalError as error:
        for line in str(error).splitlines():
            output.note(f"internal error (please report it): {line}")
        sys.exit(1)
    except MemoryError:
        _out_of_memory()
    except RuntimeError as error:
        if _TORCH_MEMORY not in str(error):
            raise
        _out_of_memory()
    except ImportError as error:  # of a library; our own modules are imported by the tests
        output.note(
            f"error: a library cannot be loaded ({first_line(error)}); install flexhyca again or, "
            "where memory is limited (ulimit -v), allow 2 GB"
        )
        sys.exit(2)
    except BrokenPipeError:
        _drop_output()  # the reader (head, less) is gone
        sys.exit(1)
    except OSError as error:
        _drop_output()
        if error.errno is None:  # not of the system: a library's own
            output.note(f"error: {first_line(error)}")
        else:
            where, why = error.filename or "standard output", error.strerror or error
            output.note(f"error: {where}: {str(why).lower()}")
        sys.exit(2)


def _out_of_memory() -> NoReturn:
    output.note("error: memory ran out; use a smaller network, batch or number of images")
    sys.exit(2)


def _drop_output() -> None:
    """Keep Python from complaining about standard output while it shuts down."""
    with suppress(OSError, ValueError):  # it may have no number of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

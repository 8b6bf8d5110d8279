"""The command line: one module per sub-command, heavy imports inside the functions.

Results go to standard output, everything else (progress, warnings, errors) to standard error.
Exit codes: 0 done, 1 a bug of ours, 2 something the user can mend (one line, nothing half-written),
130 Ctrl-C.
"""

import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import typer

from ..errors import FlexhycaError, InternalError, first_line
from ..interrupts import asked, heeded
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
    with heeded():
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
                raise cause from None
            raise
        except BaseException as error:
            if asked():  # whatever a library has made of it
                _drop_output()
                raise
            code = _told(error)
            if code is None:
                raise
            sys.exit(code)


def _told(error: BaseException) -> int | None:
    """Say in a line, or a few, what has ended a command: its exit code. None: only Python can."""
    match error:
        case FlexhycaError() | InternalError():
            mendable = isinstance(error, FlexhycaError)
            kind = "error" if mendable else "internal error (please report it)"
            for line in str(error).splitlines():
                output.note(f"{kind}: {line}")
            return 2 if mendable else 1
        case ImportError():  # of a library; our own modules are imported by the tests
            output.note(
                f"error: a library cannot be loaded ({first_line(error)}); install flexhyca again "
                "or, where memory is limited (ulimit -v), allow 2 GB"
            )
            return 2
        case BrokenPipeError():
            _drop_output()  # the reader (head, less) is gone
            return 1
        case OSError():
            _drop_output()
            if error.errno is None:  # not of the system: a library's own
                output.note(f"error: {first_line(error)}")
            else:
                where, why = error.filename or "standard output", error.strerror or error
                output.note(f"error: {where}: {str(why).lower()}")
            return 2
    of_torch = isinstance(error, RuntimeError) and _TORCH_MEMORY in str(error)
    if of_torch or isinstance(error, MemoryError):
        output.note("error: memory ran out; use a smaller network, batch or number of images")
        return 2
    return None


def _drop_output() -> None:
    """Keep Python from complaining about standard output while it shuts down."""
    with suppress(OSError, ValueError):  # it may have no number of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

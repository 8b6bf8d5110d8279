"""``flexhyca disasm``: a program file to assembly text."""

from pathlib import Path
from typing import Annotated

import typer

from . import output

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca disasm digits.fhx | head\n"
    "  flexhyca disasm digits.fhx -o digits.fhs\n"
)


def command(
    program: Annotated[Path, typer.Argument(metavar="PROGRAM", help="A program file.")],
    out: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|-", help="Where the text goes.")
    ] = output.STDOUT,
) -> None:
    """Write a program as assembly text, from which `flexhyca asm` makes the same program again."""
    from ..isa.assembly import disassemble
    from ..isa.program_file import load

    output.check_target(out)
    output.write_text(out, disassemble(load(program)))

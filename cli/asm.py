"""``flexhyca asm``: assembly text to a program file."""

from pathlib import Path
from typing import Annotated

import typer

from ..files import reading
from . import output

EXAMPLES = "\b\nExample:\n  flexhyca asm digits.fhs -o digits.fhx\n"


def command(
    text: Annotated[Path, typer.Argument(metavar="TEXT", help="Assembly text, see `disasm`.")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Program file.")],
) -> None:
    """Assemble text into a program file; the text of `disasm` gives the same bits again."""
    from ..errors import ProgramError

    output.check_target(files=[out])
    try:
        source = reading(text).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ProgramError(f"{text}: not a text file; give the output of disasm") from None
    except OSError as error:
        raise ProgramError(f"{text}: cannot be read: {error.strerror}") from None
    from ..isa.assembly import assemble

    program = assemble(source, str(text))
    output.write_program(program, out)
    print(f"{out}: {len(program.text):,} instructions for {len(program.layer_names)} layers")

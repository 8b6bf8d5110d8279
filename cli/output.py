"""Where results go: tables and JSON to standard output or files, everything else to stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..database import database_of, is_database
from ..errors import FlexhycaError, FlexhycaWarning
from ..files import forget, in_package, is_special, same_file, try_to_write, was_read, write_whole
from ..interrupts import check

if TYPE_CHECKING:
    from ..faults.campaign.statistics import Interval
    from ..isa.program import Program

STDOUT = "-"
_LONG = re.compile(r"\S{301,}")  # a path, mostly; its beginning and its end say which
_nowhere: TextIO | None = None
_named: list[str | Path] = []  # by the command that runs


def open_streams() -> None:
    """Where a caller has closed standard output, tables go nowhere; what goes to - is an error.

    Where standard error is closed, nobody is told of anything but by the exit code.
    """
    global _nowhere
    if sys.stdout is None:
        sys.stdout = _nowhere = Path(os.devnull).open("w")  # noqa: SIM115  to the end
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


def note(message: str) -> None:
    """One line for the user, beside the result; what a terminal would obey is shown, not sent."""
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    print(_LONG.sub(lambda word: f"{word[0][:97]} ... {word[0][-97:]}", plain), file=sys.stderr)


def warn(messages: Iterable[str]) -> None:
    """Lines that the user should read before trusting the result."""
    for message in messages:
        note(f"warning: {message}")


def show_warnings() -> None:
    """Ours as lines for the user, each time; those of libraries as they are."""
    others = warnings.showwarning
    if others.__module__ == __name__:
        return  # for an earlier command of this process

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, FlexhycaWarning):
            warn([str(message)])
        else:
            others(message, category, *rest, **more)

    warnings.showwarning = show
    warnings.simplefilter("always", FlexhycaWarning)


def check_target(
    *targets: str | Path | None,
    files: Sequence[Path | None] = (),
    studies: Sequence[Path] = (),
    into_package: bool = False,
) -> None:
    """Refuse a file that cannot be written before minutes are spent on its content.

    targets : - is standard output. files : targets that are no text, which it does not take.
    studies : databases that are gone on with. Any other one is not overwritten, nor is one target
    by the next, nor a file that the command is given or has read already, nor one that SQLite
    keeps beside a database. into_package : a file of the package itself is meant.
    """
    seen: set[Path] = set()
    given = [name for name in (*studies, *files, *targets) if name is not None]
    for number, target in enumerate((*studies, *files, *targets)):
        is_study = number < len(studies)
        if target is None:
            continue
        if str(target) == STDOUT:
            if number < len(studies) + len(files):
                raise _no_text()
            continue
        path = Path(target)
        with _named_errors(path, OSError, RuntimeError, ValueError):
            place = path.resolve()  # what a link points to, not the link
            if place in seen:
                raise FlexhycaError(f"{path}: is named twice; results need files of their own")
            seen.add(place)
            if in_package(place) and not into_package:
                raise _of_package(path)
            for base in filter(None, map(database_of, (path, place))):
                if is_database(base) or any(same_file(base, name) for name in [*_named, *given]):
                    raise FlexhycaError(
                        f"{path}: is where {base.name} has its journal or lock while it is "
                        "written, which would end this file; give another name"
                    )
            written = sum(same_file(path, name) for name in given)
            read = sum(same_file(path, name) for name in _named)
            if not is_study and (read > written or was_read(path)):
                raise FlexhycaError(
                    f"{path}: is read by this command, which would overwrite it; give another file"
                )
            if is_study and path.is_file():
                continue
            if is_database(path):
                raise FlexhycaError(
                    f"{path}: is a study or a campaign (or another SQLite file), which this would "
                    "overwrite; give another file, or delete it first"
                )
            folder = place.parent
            if path.is_dir():
                raise FlexhycaError(f"{path}: is a folder; give a file name in it")
            if not folder.is_dir():
                raise FlexhycaError(f"{path}: the folder {folder} does not exist; create it first")
            if not is_special(place) and not os.access(folder, os.W_OK):
                raise FlexhycaError(f"{path}: the folder {folder} is not writable; choose another")
            try_to_write(place)


def check_folder(folder: Path, *targets: Path) -> None:
    """Refuse a folder that cannot be made, or files in it, before minutes are spent on them."""
    if str(folder) == STDOUT:
        raise _no_text()
    with _named_errors(folder, OSError, RuntimeError, ValueError):
        place = folder.resolve()
        if place.is_dir():
            check_target(*targets)
            return
        if place.exists():
            raise FlexhycaError(f"{folder}: is no folder; give another name")
        if in_package(place / "new"):
            raise _of_package(folder)
        above = next(each for each in place.parents if each.exists())
        if not above.is_dir():
            raise FlexhycaError(f"{folder}: {above} is no folder; give another name")
        if not os.access(above, os.W_OK):
            raise FlexhycaError(f"{folder}: the folder {above} is not writable; choose another")


def make_folder(folder: Path) -> None:
    """The folder with those above it, there or not."""
    with _named_errors(folder, OSError):
        folder.mkdir(parents=True, exist_ok=True)


def _no_text() -> FlexhycaError:
    return FlexhycaError(
        f"{STDOUT}: standard output takes texts only, and this is none; give the name of a file "
        "or a folder"
    )


def _of_package(path: Path) -> FlexhycaError:
    return FlexhycaError(
        f"{path}: lies in the installed package, whose files are never a result", "choose another"
    )


@contextmanager
def _named_errors(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """What the file system says of a name (a loop of links, too long ...) as a line of ours."""
    try:
        yield
    except kinds as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise FlexhycaError(f"{path}: cannot be written: {why or error}") from None


def begin(values: Iterable[object]) -> None:
    """A command begins; what files it reads is known from now on.

    values : of all its options and arguments. Files are among them, so that any of them that is
    another's target is refused at once; what is read besides is known when it is (`files`).
    """
    forget()
    _named.clear()
    left = list(values)
    while left:
        value = left.pop()
        if isinstance(value, list | tuple):
            left += value
        elif isinstance(value, str | Path) and str(value) != STDOUT:
            _named.append(value)


def write_file(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename: all of it or nothing."""
    check_target(files=[Path(path)])
    check()
    with _named_errors(Path(path), OSError):
        write_whole(path, write)


def write_program(program: Program, path: Path) -> None:
    """Write a program file; refused where `path` was read, by whatever name."""
    from ..isa.program_file import save

    check_target(files=[path])
    check()
    save(program, path)


def write_text(target: str | Path, text: str) -> None:
    """Write `text` to standard output (-) or, all or nothing, to a file."""
    check()
    if str(target) == STDOUT:
        if sys.stdout is _nowhere:
            raise FlexhycaError("standard output is closed; name a file instead of -")
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_file(target, lambda path: path.write_text(text, encoding="utf-8"))


def write_json(target: str | None, value: object) -> None:
    """Write `value` where --json says; nothing where it was not given."""
    if target is not None:
        write_text(target, json.dumps(value, indent=2, allow_nan=False, default=_plain) + "\n")


def _plain(value: Any) -> object:
    """NumPy numbers and arrays as Python ones."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not go into JSON")


def accuracy_interval(accuracy: float, images: int, seed: int) -> Interval:
    """An accuracy without faults, and how sure so many images make it. accuracy : 0..1."""
    from ..faults.campaign.statistics import share

    return share(round(accuracy * images), images, seed)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A CSV file with one header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print an aligned table; numbers to the right."""
    check()
    body = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(columns), *body]) for i in range(len(columns))]
    numeric = [
        bool(body) and all(_is_number(line[i]) for line in body) for i in range(len(columns))
    ]
    for line in [list(columns), *body]:
        cells = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("-", "").replace("%", "").isdigit()


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], object]]:
    """A bar on stderr, on a terminal only; call the value with the number of steps done."""
    if not sys.stderr.isatty():
        yield lambda count: check()
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        def step(count: int) -> None:
            check()
            bar.advance(task, count)

        yield step

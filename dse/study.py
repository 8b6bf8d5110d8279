"""A study: an append-only SQLite file of what was evaluated, so that it can be killed and go on.

`results` is a store by key (`keys`): a later study can take what it needs from an earlier one.
`trials` says in which order a search chose its candidates, and why others were left out.  What is
common to all (network, images, space ...) is the study's identity; another one is refused, with
what differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..database import Database, checksum
from ..errors import FlexhycaError, first_line
from .keys import ResultKey

_APPLICATION = 0x66787374  # "fxst", in the file's header
_TABLES = """
CREATE TABLE identity (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE request (content TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE results (
    stage TEXT NOT NULL, digest TEXT NOT NULL, part INTEGER NOT NULL,
    content BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (stage, digest, part)
) WITHOUT ROWID;
CREATE TABLE trials (
    problem TEXT NOT NULL, number INTEGER NOT NULL, event TEXT NOT NULL,
    content TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (problem, number)
) WITHOUT ROWID;
"""
_SHOWN = 6  # differences that a refusal names


class StudyEvent(NamedTuple):
    """What a search did. event : a row of `dse.search.optimise`. content : plain values."""

    event: str
    content: Any


class Study:
    """The file; close it, or use it in `with`. Without a path the study lives in memory."""

    def __init__(
        self,
        path: Path | None,
        identity: Mapping[str, str] | None,
        request: Mapping[str, Any] | None = None,
        *,
        what: str = "a study",
        option: str = "--study",
    ) -> None:
        """Open or create the file; without an identity it has to be there, whatever it is of.

        request : how the study was asked for, so that it can be resumed by its file alone; it may
        change (where the data lie). what, option : for messages.
        Raises FlexhycaError where the file is something else, or the study of something else.
        """
        start: list[tuple[str, list[tuple[str | int, ...]]]] = [
            ("INSERT INTO identity VALUES (?, ?)", list((identity or {}).items())),
            ("INSERT INTO request VALUES (?, ?)", [_row(request or {}, "request")]),
        ]
        tables = None if identity is None else _TABLES
        advice = f"give another {option}"
        self._file = Database(path, _APPLICATION, tables, what, advice, start)
        if identity is not None:
            try:
                self.require(identity, dict.fromkeys(self.identity))
            except FlexhycaError:
                self.close()
                raise

    def require(self, identity: Mapping[str, str], names: Iterable[str] = ()) -> None:
        """Raise FlexhycaError, with what differs, unless the study is of `identity`.

        names : of what it may have besides, which has to be the same, too.
        """
        own = self.identity
        differing = [
            f"{name}: {own.get(name, 'nothing')} there, {identity.get(name, 'nothing')} here"
            for name in dict.fromkeys([*identity, *names])
            if own.get(name) != identity.get(name)
        ]
        if differing:
            more = f"; {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
            raise FlexhycaError(
                f"{self._file.name}: belongs to another study "
                f"({'; '.join(differing[:_SHOWN])}{more}); delete it, or {self._file.advice}"
            )

    @property
    def identity(self) -> dict[str, str]:
        """What the study is of."""
        return dict(self._file.read("SELECT name, value FROM identity ORDER BY name"))

    @property
    def request(self) -> dict[str, Any]:
        """How it was asked for."""
        rows = self._file.read("SELECT content, crc FROM request")
        if len(rows) != 1:
            raise self._file.damaged(f"{len(rows)} requests")
        return self._section(rows[0], "request")

    # ---- results ----------------------------------------------------------------------------

    def find(self, key: ResultKey, part: int = 0) -> Any:
        """What was kept under a key; None if nothing was."""
        found = self._file.read(
            "SELECT content, crc FROM results WHERE stage = ? AND digest = ? AND part = ?",
            (*key, part),
        )
        return self._section(found[0], _of(key, part)) if found else None

    def add(self, key: ResultKey, content: Any, part: int = 0) -> None:
        """Keep a result; it is on the disk when this returns. The first one of a key stays."""
        self._file.write(
            "INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?)",
            [(*key, part, *_row(content, _of(key, part)))],
        )

    def find_bytes(self, key: ResultKey) -> bytes | None:
        """As `find`, for what was kept by `add_bytes`."""
        found = self._file.read(
            "SELECT content, crc FROM results WHERE stage = ? AND digest = ? AND part = 0", key
        )
        return bytes(self._checked(found[0], _of(key, 0))) if found else None

    def add_bytes(self, key: ResultKey, content: bytes) -> None:
        """Keep what is no text."""
        self._file.write(
            "INSERT OR IGNORE INTO results VALUES (?, ?, 0, ?, ?)",
            [(*key, content, checksum(content, _of(key, 0)))],
        )

    def take_from(self, other: Path) -> int:
        """Copy the results of another study; how many there were."""
        with Study(other, None, what="a study of flexhyca", option="--reuse") as study:
            rows = study._results()
        self._file.write("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?)", rows)
        return len(rows)

    def check(self) -> None:
        """Raise FlexhycaError unless every row is as it was written; reads the whole file.

        Of results that are missing it knows nothing.
        """
        self._results()
        _ = self.request
        for problem in self.problems():
            self.events(problem)

    def _results(self) -> list[tuple[Any, ...]]:
        rows = self._file.read("SELECT stage, digest, part, content, crc FROM results")
        for stage, digest, part, content, crc in rows:
            self._file.checked(content, crc, _of(ResultKey(stage, digest), part))
        return rows

    def count(self, stage: str) -> int:
        """How many results of a stage there are."""
        ((number,),) = self._file.read("SELECT count(*) FROM results WHERE stage = ?", (stage,))
        return int(number)

    # ---- trials -----------------------------------------------------------------------------

    def events(self, problem: str) -> list[StudyEvent]:
        """What a search has done, in order."""
        rows = self._file.read(
            "SELECT number, event, content, crc FROM trials WHERE problem = ? ORDER BY number",
            (problem,),
        )
        if [number for number, *_ in rows] != list(range(len(rows))):
            raise self._file.damaged("events are missing")
        return [
            StudyEvent(event, self._section((content, crc), f"{problem} {n} {event}"))
            for n, event, content, crc in rows
        ]

    def log(self, problem: str, first: int, events: Iterable[StudyEvent]) -> None:
        """Append events, the first of which gets the number `first`: all or none."""
        self._file.write(
            "INSERT INTO trials VALUES (?, ?, ?, ?, ?)",
            [
                (problem, n, event, *_row(content, f"{problem} {n} {event}"))
                for n, (event, content) in enumerate(events, first)
            ],
        )

    def problems(self) -> list[str]:
        """Names of the searches that the study has."""
        return [name for (name,) in self._file.read("SELECT DISTINCT problem FROM trials")]

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """What is done with content of the file; where it is none of ours, one line says so."""
        try:
            yield
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            why = f"{what}: {type(error).__name__}: {first_line(error)[:60]}"
            raise self._file.damaged(why) from None

    def _section(self, row: tuple[Any, int], of: str) -> dict[str, Any]:
        """Named values, as all that is kept but bytes."""
        text = self._checked(row, of)
        with self.reading(of):
            found = json.loads(text)
            if isinstance(found, dict):
                return found
        raise self._file.damaged(f"{of} holds no named values")

    def _checked(self, row: tuple[Any, int], of: str) -> Any:
        content, crc = row
        return self._file.checked(content, crc, of)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _of(key: ResultKey, part: int) -> str:
    return f"{key.stage} {key.digest} {part}"


def _row(content: Any, of: str) -> tuple[str, int]:
    text = json.dumps(content, allow_nan=False)
    return text, checksum(text, of)

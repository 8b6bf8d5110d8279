"""What every SQLite file of ours has in common: opened or refused in one line, never half-read.

A study (dse) and a campaign (faults) are such files. They are append-only and keep SQLite's
rollback journal, not a write-ahead log: at rest a file is one file that can be copied, it works on
network drives, and after `kill -9` the next one who opens it rolls the unfinished transaction
back. The price, that a reader keeps the writer waiting, is small: writers commit about once a
second, and readers read in slices.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .errors import FlexhycaError, first_line

_HEADER = b"SQLite format 3\0"
#: What stands beside a database while it is written -> how SQLite begins it.
_COMPANIONS = {
    "-journal": (b"\xd9\xd5\x05\xf9",),
    "-wal": (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"),  # of other programs: we use none
    "-shm": (b"\x18\xe2\x2d\x00", b"\x00\x2d\xe2\x18"),
}
LOCK = ".lock"  # ours: a campaign's
_UNWRITABLE = (
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_FULL,
)


def checksum(content: str | bytes, of: str = "") -> int:
    """CRC-32, kept beside what it is of; with the key `of`, so that no row passes for another."""
    return zlib.crc32(of.encode() + (content.encode() if isinstance(content, str) else content))


def is_checked(content: Any, crc: Any, of: str = "") -> bool:
    """Whether `content` has the checksum that was kept with it."""
    return isinstance(content, str | bytes) and checksum(content, of) == crc


def is_database(path: Path) -> bool:
    """Whether there is an SQLite file."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_HEADER)) == _HEADER
    except (OSError, ValueError):
        return False


def database_of(path: Path) -> Path | None:
    """The database beside which a file of this name would be SQLite's, or its lock; if any."""
    for suffix in (*_COMPANIONS, LOCK):
        if path.name.endswith(suffix) and path.name != suffix:
            return path.with_name(path.name.removesuffix(suffix))
    return None


def _look_at(path: Path, new: bool) -> None:
    """Refuse what is no place of a database, before SQLite waits for it. new : may be missing."""
    try:
        what = ""
        if path.is_dir():
            what = "is a folder"
        elif path.exists() and not path.is_file():
            what = "is a device or a pipe; give an ordinary file"
        elif not new and not path.exists():
            what = "there is no such file"
    except (OSError, ValueError) as error:
        what = f"is no name of a file: {first_line(error)}"
    if what:
        raise FlexhycaError(f"{path}: {what}")
    _look_beside(path)


def _look_beside(name: Path) -> None:
    """Refuse what stands where SQLite would read, wait for or delete it, and is not SQLite's."""
    path = name.resolve()  # as SQLite does
    for suffix, beginnings in _COMPANIONS.items():
        beside = path.with_name(path.name + suffix)
        try:
            if not beside.exists():
                continue
            if not beside.is_file():
                what = "is a folder, a device or a pipe"
            else:
                with beside.open("rb") as file:
                    start = file.read(4)
                if start in (b"", bytes(4), *beginnings):  # zeros: killed before it was complete
                    continue
                what = "is none of SQLite's files"
        except FileNotFoundError:  # its writer has just ended
            continue
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
        raise FlexhycaError(
            f"{beside}: {what}, and stands where SQLite keeps its own while {path.name} is "
            "written; move it away"
        )


class Database:
    """An SQLite file with a mark of its own.

    path : None for a file in memory. mark : SQLite's application_id. tables : the statements that
    make an empty file one of ours; None where the file has to be there. initial : (statement,
    rows) that a new file begins with. what, advice : for messages ("a study of `flexhyca sweep`",
    "give another --study"). patience_s : how long to wait for other processes.
    structure : whether the whole file is looked through for rows that are out of order or out of
    reach, of which checksums know nothing (SQLite's integrity_check).
    rescue : what to do with a damaged file before `advice`.
    Raises FlexhycaError where the file is something else, damaged, or cannot be opened.
    """

    def __init__(
        self,
        path: Path | None,
        mark: int,
        tables: str | None,
        what: str,
        advice: str,
        initial: Sequence[tuple[str, Sequence[Sequence[object]]]] = (),
        patience_s: float = 5,
        structure: bool = True,
        rescue: str = "",
    ) -> None:
        self.name = str(path or "memory")
        self.advice, self._rescue = advice, rescue
        if path is not None:
            _look_at(path, tables is not None)
        try:
            self._db = sqlite3.connect(path or ":memory:", timeout=patience_s, isolation_level=None)
            try:
                self._open(mark, tables, initial)
                if structure:
                    self._check_structure()
            except BaseException:  # the transaction would keep the file locked
                self._db.close()
                raise
        except (sqlite3.Error, ValueError) as error:  # ValueError: text that is none
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise FlexhycaError(
                    f"{self.name}: another process is writing it; wait until that has ended"
                ) from None
            if _code(error) in _UNWRITABLE:
                raise self._unwritable(error) from None
            raise FlexhycaError(
                f"{self.name}: is not {what} ({first_line(error)}); {advice}"
            ) from None

    def _open(
        self,
        mark: int,
        tables: str | None,
        initial: Sequence[tuple[str, Sequence[Sequence[object]]]],
    ) -> None:
        self._db.execute("BEGIN IMMEDIATE" if tables else "BEGIN")
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (present,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and not present:
            self._db.execute(f"PRAGMA application_id = {mark}")
            for statement in filter(str.strip, tables.split(";")):
                self._db.execute(statement)
            for statement, rows in initial:
                self._db.executemany(statement, rows)
        elif application != mark:
            raise sqlite3.DatabaseError("a database of another program" if present else "empty")
        self._db.execute("COMMIT")

    def _check_structure(self) -> None:
        ((found,),) = self._db.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise self.damaged(found.splitlines()[-1])

    def read(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows of a query."""
        try:
            return self._db.execute(statement, values).fetchall()
        except (sqlite3.Error, ValueError) as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise FlexhycaError(
                    f"{self.name}: another process is writing it; try again"
                ) from None
            raise self.damaged(first_line(error)) from None

    def read_what_is_there(
        self, statement: str, values: Sequence[object] = ()
    ) -> Iterator[tuple[Any, ...]]:
        """The rows of a query up to where the file is damaged."""
        try:
            yield from self._db.execute(statement, values)
        except (sqlite3.Error, ValueError):
            return

    def write(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Do `statement` for all rows or for none; they are on the disk when this returns."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(statement, rows)
                self._db.execute("COMMIT")
            except BaseException:  # Ctrl-C, too
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._unwritable(error) from None

    def damaged(self, why: str) -> FlexhycaError:
        """The error for content that cannot be what was written."""
        return FlexhycaError(
            f"{self.name}: is damaged ({why}); {self._rescue}delete it, or {self.advice}"
        )

    def checked(self, content: Any, crc: int, of: str = "") -> Any:
        """`content` if it has the checksum that was kept with it; `of` says which it is."""
        if not is_checked(content, crc, of):
            raise self.damaged("a wrong checksum")
        return content

    def _unwritable(self, error: BaseException) -> FlexhycaError:
        return FlexhycaError(f"{self.name}: cannot be written: {first_line(error)}")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _code(error: BaseException) -> int | None:
    """SQLite's primary code of an error."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF

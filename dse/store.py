"""A study: an append-only SQLite file of runs, so that a sweep can be killed and run again.

A run is found by what determines it: placement, seed and the configuration's hash. What is common
to all (model, weights, batch, the simulator's own sources) is the study's identity; another one is
refused. Rankings by gradient are kept too: they take long, and their last bits may depend on the
number of threads.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import FlexhycaError, first_line

_APPLICATION = 0x66787377  # "fxsw", in the file's header
_TABLES = """
CREATE TABLE identity (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    placement TEXT NOT NULL, seed INTEGER NOT NULL, config_hash TEXT NOT NULL,
    cost TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (placement, seed, config_hash)
) WITHOUT ROWID;
CREATE TABLE rankings (name TEXT PRIMARY KEY, content BLOB NOT NULL, crc INTEGER NOT NULL);
"""
#: Packages whose sources decide what a run costs.
_CODE = ("compiler", "config", "dse", "isa", "simulator")


class Key(NamedTuple):
    """What determines a run in a study; placement and seed are "" and 0 where nothing is placed."""

    placement: str
    seed: int
    config_hash: str


def code_digest() -> str:
    """A hash of the simulator's sources: another version may count other cycles."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for package in _CODE:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _crc(content: str | bytes) -> int:
    return zlib.crc32(content.encode() if isinstance(content, str) else content)


class Study:
    """The runs of a study; close it, or use it in `with`."""

    def __init__(self, path: Path | None, identity: Mapping[str, str]) -> None:
        """Open or create the file; without a path the study lives in memory.

        Raises FlexhycaError where the file is something else, or the study of something else.
        """
        self.name = str(path or "memory")
        try:
            self._db = sqlite3.connect(path or ":memory:", timeout=5, isolation_level=None)
            self._open(identity)
        except (sqlite3.Error, ValueError) as error:  # ValueError: text that is none
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise FlexhycaError(
                    f"{self.name}: another process is writing it; wait until that has ended"
                ) from None
            raise FlexhycaError(
                f"{self.name}: is not a study of `flexhyca sweep` ({first_line(error)}); "
                "delete it, or give another --study"
            ) from None

    def _open(self, identity: Mapping[str, str]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
            self._db.executemany("INSERT INTO identity VALUES (?, ?)", identity.items())
        elif application != _APPLICATION:
            raise sqlite3.DatabaseError("a database of another program")
        self._db.execute("COMMIT")
        own = dict(self._db.execute("SELECT name, value FROM identity"))
        differing = [
            f"{name}: {own.get(name, 'nothing')} there, {identity.get(name, 'nothing')} here"
            for name in dict.fromkeys([*identity, *own])
            if own.get(name) != identity.get(name)
        ]
        if differing:
            self._db.close()
            raise FlexhycaError(
                f"{self.name}: belongs to another study ({'; '.join(differing)}); "
                "delete it, or give another --csv or --study"
            )

    def find(self, key: Key) -> dict[str, Any] | None:
        """What is kept of a run, None if it has not been done."""
        text = self._find(
            "SELECT cost, crc FROM runs WHERE placement = ? AND seed = ? AND config_hash = ?", key
        )
        return None if text is None else json.loads(text)

    def add(self, key: Key, cost: Mapping[str, Any]) -> None:
        """Keep a run; it is on the disk when this returns."""
        text = json.dumps(cost, allow_nan=False)
        self._insert("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?)", (*key, text, _crc(text)))

    def ranking(self, name: str) -> bytes | None:
        """A ranking that was kept."""
        content = self._find("SELECT content, crc FROM rankings WHERE name = ?", (name,))
        return None if content is None else bytes(content)

    def add_ranking(self, name: str, content: bytes) -> None:
        """Keep a ranking."""
        self._insert(
            "INSERT OR IGNORE INTO rankings VALUES (?, ?, ?)", (name, content, _crc(content))
        )

    def _find(self, statement: str, values: tuple[object, ...]) -> Any:
        """The first column of what is found, None if nothing is; the second is its checksum."""
        try:
            found = self._db.execute(statement, values).fetchone()
        except (sqlite3.Error, ValueError) as error:
            raise self._damaged(first_line(error)) from None
        if found is not None and (
            not isinstance(found[0], str | bytes) or _crc(found[0]) != found[1]
        ):
            raise self._damaged("a wrong checksum")
        return None if found is None else found[0]

    def _damaged(self, why: str) -> FlexhycaError:
        return FlexhycaError(
            f"{self.name}: is damaged ({why}); delete it, or give another --csv or --study"
        )

    def _insert(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise FlexhycaError(f"{self.name}: cannot be written: {first_line(error)}") from None

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

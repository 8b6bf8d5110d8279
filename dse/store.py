"""A study: an append-only SQLite file of runs, so that a sweep can be killed and run again.

A run is found by what determines it: placement, seed and the configuration's hash. What is common
to all (model, weights, batch, the simulator's own sources) is the study's identity; another one is
refused. Rankings by gradient are kept too: they take long, and their last bits may depend on the
number of threads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..database import Database, checksum
from ..errors import FlexhycaError

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
CODE = ("compiler", "config", "dse", "isa", "network", "simulator")


class PointKey(NamedTuple):
    """What determines a run in a study; placement and seed are "" and 0 where nothing is placed."""

    placement: str
    seed: int
    config_hash: str


class Study:
    """The runs of a study; close it, or use it in `with`."""

    def __init__(self, path: Path | None, identity: Mapping[str, str]) -> None:
        """Open or create the file; without a path the study lives in memory.

        Raises FlexhycaError where the file is something else, or the study of something else.
        """
        self._file = Database(
            path,
            _APPLICATION,
            _TABLES,
            "a study of `flexhyca sweep`",
            "delete it, or give another --csv or --study",
            [("INSERT INTO identity VALUES (?, ?)", list(identity.items()))],
        )
        try:
            own = dict(self._file.read("SELECT name, value FROM identity"))
        except FlexhycaError:
            self.close()
            raise
        differing = [
            f"{name}: {own.get(name, 'nothing')} there, {identity.get(name, 'nothing')} here"
            for name in dict.fromkeys([*identity, *own])
            if own.get(name) != identity.get(name)
        ]
        if differing:
            self.close()
            raise FlexhycaError(
                f"{self._file.name}: belongs to another study ({'; '.join(differing)}); "
                f"{self._file.advice}"
            )

    def find(self, key: PointKey) -> dict[str, Any] | None:
        """What is kept of a run, None if it has not been done."""
        text = self._find(
            "SELECT cost, crc FROM runs WHERE placement = ? AND seed = ? AND config_hash = ?",
            key,
            str(key),
        )
        return None if text is None else json.loads(text)

    def add(self, key: PointKey, cost: Mapping[str, Any]) -> None:
        """Keep a run; it is on the disk when this returns."""
        text = json.dumps(cost, allow_nan=False)
        self._file.write(
            "INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?)",
            [(*key, text, checksum(text, str(key)))],
        )

    def ranking(self, name: str) -> bytes | None:
        """A ranking that was kept."""
        content = self._find("SELECT content, crc FROM rankings WHERE name = ?", (name,), name)
        return None if content is None else bytes(content)

    def add_ranking(self, name: str, content: bytes) -> None:
        """Keep a ranking."""
        self._file.write(
            "INSERT OR IGNORE INTO rankings VALUES (?, ?, ?)",
            [(name, content, checksum(content, name))],
        )

    def _find(self, statement: str, values: tuple[object, ...], of: str) -> Any:
        """The first column of what is found, None if nothing is; the second is its checksum."""
        found = self._file.read(statement, values)
        if not found:
            return None
        content, crc = found[0]
        return self._file.checked(content, crc, of)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

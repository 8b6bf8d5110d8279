"""A campaign's file: its spec and one row a trial, append-only, good to kill at any moment.

Everything that is read comes from the *prefix*: the trials before the first one that is missing, in
whole blocks of those that say something only together.
Trials that take long (a hang) are the last to arrive, so rates over whatever is there would favour
short ones; the prefix is also the same for any number of workers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ...database import Database, checksum, is_checked
from ...errors import FlexhycaError, InternalError
from .estimates import Tally
from .experiment import TrialRow, Value, flat_fields, quantity_of
from .stored import (
    CampaignGoal,
    NonsenseError,
    parsed,
    stored_description,
    stored_goal,
    stored_row,
)

_MARK = 0x66786663  # "fxfc", in the file's header
_FORMAT = 1
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE trials (number INTEGER PRIMARY KEY, content TEXT NOT NULL, crc INTEGER NOT NULL);
"""
_WHAT = "a campaign of flexhyca"
_ADVICE = "give another file"
_RESCUE = "`flexhyca campaign repair` saves what is whole; or "
_SLICE = 20_000  # rows that are read at once
#: What a tally raises for values that no trial can have.
UNCOUNTABLE = (InternalError, TypeError, ValueError, ArithmeticError)
_LEAST_ROW = 10  # bytes of one in the file, at least
_PATIENCE_S = 60
_SHOWN = 6  # fields that differ


class Campaign:
    """An open file; close it, or use it in `with`.

    path : the file. described : what `experiment.description` says, to create the file or to check
    that it is the same campaign; None to read what is there.
    Raises FlexhycaError, with a line for each field that differs, for another campaign.
    """

    def __init__(
        self,
        path: Path,
        described: Mapping[str, Any] | None = None,
        structure: bool = True,
    ) -> None:
        """structure : whether a damaged file is refused at once; `repaired` reads what it can."""
        self.path = path
        self.left_out = set[int]()  # by `whole_rows`: numbers of what is no trial
        initial: list[tuple[str, Sequence[Sequence[object]]]] = []
        if described is not None:
            texts = {"format": json.dumps(_FORMAT), "campaign": json.dumps(described)}
            texts["goal"] = json.dumps(CampaignGoal(0))
            facts = [(name, text, checksum(text, name)) for name, text in texts.items()]
            initial = [("INSERT INTO facts VALUES (?, ?, ?)", facts)]
        tables = None if described is None else _TABLES
        self._file = Database(
            path, _MARK, tables, _WHAT, _ADVICE, initial, _PATIENCE_S, structure, _RESCUE
        )
        try:
            version = self._fact("format")
            if version != _FORMAT:
                raise FlexhycaError(
                    f"{path}: has format {version}, this version of flexhyca knows {_FORMAT}; "
                    "use the version that wrote it, or give another file"
                )
            self.described: dict[str, Any] = stored_description(self._fact("campaign"))
            if described is not None:
                self._check_same(described)
            self.goal = stored_goal(self._fact("goal"))
            if structure:
                self._check_numbers()
        except NonsenseError as error:
            self._file.close()
            raise self._file.damaged(str(error)) from None
        except BaseException:
            self._file.close()
            raise

    def _fact(self, name: str) -> Any:
        found = self._file.read("SELECT value, crc FROM facts WHERE name = ?", (name,))
        if not found:
            raise self._file.damaged(f"no {name}")
        content, crc = found[0]
        return parsed(self._file.checked(content, crc, name), f"the fact {name!r}")

    def _check_numbers(self) -> None:
        """The first and the last row, between which the others are."""
        statement = "SELECT number, content FROM trials ORDER BY number"
        for ending in ("LIMIT 1", "DESC LIMIT 1"):
            for number, content in self._file.read(f"{statement} {ending}"):
                if isinstance(content, str):  # else its checksum is wrong, of which others tell
                    stored_row(number, content, self.columns)

    def _check_same(self, described: Mapping[str, Any]) -> None:
        if described["code"] != self.described["code"]:
            raise FlexhycaError(
                f"{self.path}: was made by another version of flexhyca "
                f"({self.described['code']}, here {described['code']}), whose trials may differ; "
                "give another file, or go on with that version"
            )
        there, here = (_fields(each) for each in (self.described, described))
        other = [n for n in dict.fromkeys([*here, *there]) if there.get(n) != here.get(n)]
        patterns = described.get("names", ())
        if all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in other):
            return
        lines = [
            f"  {name}: {there.get(name, 'nothing')} there, {here.get(name, 'nothing')} here"
            for name in other
        ]
        if len(lines) > _SHOWN:
            lines[_SHOWN:] = [f"  ... and {len(lines) - _SHOWN} more fields"]
        if lines:
            raise FlexhycaError(
                "\n".join([f"{self.path}: holds another campaign; give another file", *lines])
            )

    @property
    def spec(self) -> dict[str, Any]:
        """The experiment's spec."""
        spec: dict[str, Any] = self.described["spec"]
        return spec

    @property
    def columns(self) -> dict[str, str]:
        """name -> type of the columns beside `index`."""
        columns: dict[str, str] = self.described["columns"]
        return columns

    @property
    def together(self) -> int:
        """Trials of a block (`Experiment.together`)."""
        together: int = self.described.get("together", 1)
        return together

    def set_goal(self, goal: CampaignGoal) -> None:
        """Keep what is asked for; it decides what is exported."""
        if goal != self.goal:
            text = json.dumps(goal)
            self._file.write(
                "REPLACE INTO facts VALUES ('goal', ?, ?)", [(text, checksum(text, "goal"))]
            )
            self.goal = goal

    def add(self, rows: Sequence[tuple[int, Sequence[Value]]]) -> None:
        """Keep rows, all or none; they are on the disk when this returns. The first one stays."""
        packed = []
        for number, values in rows:
            text = json.dumps(values, separators=(",", ":"))
            packed.append((number, text, checksum(text, f"{number}:")))
        self._file.write("INSERT OR IGNORE INTO trials VALUES (?, ?, ?)", packed)

    def count(self) -> int:
        """Trials that are there, up to the goal or not."""
        (row,) = self._file.read("SELECT count(*) FROM trials")
        return int(row[0])

    def missing(self, trials: int) -> list[tuple[int, int]]:
        """Ranges (start, stop) of numbers below `trials` that are not there, in order."""
        gaps = []
        following = 0
        statement = "SELECT number FROM trials WHERE number < ? ORDER BY number"
        for (number,) in self._file.read(statement, (trials,)):
            if number > following:
                gaps.append((following, number))
            following = number + 1
        if following < trials:
            gaps.append((following, trials))
        return gaps

    def all_rows(self, start: int = 0) -> Iterator[TrialRow]:
        """Rows from `start` on that are there, by number; read in slices, so that it may be long.

        Raises FlexhycaError for a row that is not what was written.
        """
        columns = self.columns
        statement = (
            "SELECT number, content, crc FROM trials WHERE number >= ? ORDER BY number LIMIT ?"
        )
        while True:
            found = self._file.read(statement, (start, _SLICE))
            for number, content, crc in found:
                text = self._file.checked(content, crc, f"{number}:")
                try:
                    row = stored_row(number, text, columns)
                except NonsenseError as error:
                    raise self._file.damaged(str(error)) from None
                yield row
            if len(found) < _SLICE:
                return
            start = found[-1][0] + 1

    def whole_rows(self) -> Iterator[tuple[int, str, int]]:
        """(number, content, checksum) of all rows that can still be found in a damaged file.

        From either end, as far as the table can be followed, and then one by one, a slice beyond
        the last one that was found.
        """
        found: set[int] = set()
        statement = "SELECT number, content, crc FROM trials"

        def whole(ending: str, *values: object) -> Iterator[tuple[int, str, int]]:
            for row in self._file.read_what_is_there(f"{statement} {ending}", values):
                number, content, crc = row
                if number in found:
                    continue
                if is_checked(content, crc, f"{number}:") and self._is_trial(number, content):
                    found.add(number)
                    self.left_out.discard(number)
                    yield number, content, crc
                else:
                    self.left_out.add(number)

        yield from whole("ORDER BY number")
        yield from whole("ORDER BY number DESC")
        most = self.path.stat().st_size // _LEAST_ROW  # whatever numbers say
        for number in range(min(self.goal.trials, most, max(found, default=0) + _SLICE)):
            if number not in found:
                yield from whole("WHERE number = ?", number)

    def _is_trial(self, number: Any, content: str) -> bool:
        try:
            self.count_in(self.empty_tally(), stored_row(number, content, self.columns))
        except (NonsenseError, FlexhycaError):
            return False
        return True

    def take_rows(self, rows: Sequence[tuple[int, str, int]]) -> None:
        """Keep rows as another file has them."""
        self._file.write("INSERT OR IGNORE INTO trials VALUES (?, ?, ?)", rows)

    def prefix(self) -> Iterator[TrialRow]:
        """The rows that count: up to the goal, before the first missing trial, in whole blocks."""
        block: list[TrialRow] = []
        for expected, row in enumerate(self.all_rows()):
            if row["index"] != expected or expected >= self.goal.end:
                return
            block.append(row)
            if len(block) == self.together:
                yield from block
                block.clear()

    def empty_tally(self) -> Tally:
        """For the quantities that were declared."""
        return Tally([quantity_of(q) for q in self.described["quantities"]], self.spec["seed"])

    def tally(self) -> Tally:
        """The prefix, counted."""
        tally = self.empty_tally()
        for row in self.prefix():
            self.count_in(tally, row)
        return tally

    def count_in(self, tally: Tally, row: TrialRow) -> None:
        """Add a row of this file; FlexhycaError where no trial can have such values."""
        try:
            tally.add(row)
        except UNCOUNTABLE:
            raise self.uncountable(row["index"]) from None

    def uncountable(self, number: object) -> FlexhycaError:
        """The error for a row that no trial can have."""
        return self._file.damaged(f"row {number} cannot be counted")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Repaired(NamedTuple):
    """Rows that were saved, how many the campaign wants, and what was found but is no trial."""

    kept: int
    wanted: int
    left_out: int


def repair(path: Path, target: Path) -> Repaired:
    """Save the whole rows of a damaged file into a new one.

    Raises FlexhycaError where what the campaign is of is damaged: then nothing can be saved.
    """
    with Campaign(path, structure=False) as old:
        rows = list(old.whole_rows())
        goal, left_out = old.goal, len(old.left_out)
        described = old.described
    try:
        with Campaign(target, described) as new:
            new.set_goal(CampaignGoal(goal.trials, goal.margin))
            new.take_rows(rows)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Repaired(len(rows), goal.trials, left_out)


def _fields(described: Mapping[str, Any]) -> dict[str, str]:
    """Field -> value as text; what the spec holds by its own names, and not where it lies."""
    locations = described.get("locations", ())
    spec = {name: v for name, v in described["spec"].items() if name not in locations}
    apart = ("spec", "code", "names")
    rest = {name: value for name, value in described.items() if name not in apart}
    return {name: _short(value) for name, value in [*flat_fields(spec), *flat_fields(rest)]}


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text.isprintable() else repr(text)

"""The plug between what is flipped and the engine that runs it: experiments and what they declare.

An experiment is plain data and a function of (seed, index). The engine keeps one instance in each
worker process, made by `from_spec`; heavy state (the program, the golden run) is built by the first
`run` there, not by the constructor.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias, cast

from ...errors import InternalError
from ...sources import code_digest

Value: TypeAlias = int | float | str | None
TrialRow: TypeAlias = dict[str, Value]
ColumnType: TypeAlias = Literal["int", "float", "str"]
COLUMN_TYPES: dict[str, type] = {"int": int, "float": float, "str": str}


@dataclass(frozen=True)
class Share:
    """Which trials failed: all whose `column` is none of `good`.

    So a value that nobody thought of (None, "decode error") is a failure, and never dropped. A
    value "masked:tmr" is of the class "masked". classes : those shown beside the failures.
    within : class -> the milder one that its trials belong to as well, such as sdc5 -> sdc1.
    by : columns that make groups, such as the scheme. strata, weights : columns that name a
    trial's stratum and the population share of each "conv1/acc/23"; without them trials are a
    plain random sample. cluster : the column that says which trials share one fault; "" where each
    is one of its own.
    """

    column: str
    good: tuple[str, ...]
    classes: tuple[str, ...] = ()
    within: Mapping[str, str] = field(default_factory=dict)
    by: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None
    cluster: str = ""


@dataclass(frozen=True)
class Ratio:
    """A share over trials of many images: sum of `above` / sum of `below`, such as accuracy.

    A missing or NaN `above` counts as 0. cluster : the column that says which rows share one
    fault; "index" where each row is a fault of its own. by : columns that make groups.
    """

    above: str
    below: str
    cluster: str = "index"
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """Accuracy under faults, and how much it is less than without, over trials of one image.

    after, before : columns that are 1 where the image is classified rightly, with the faults and
    without, else 0; None where that is not known. by, cluster : as of a Share.
    """

    after: str
    before: str
    by: tuple[str, ...] = ()
    cluster: str = ""


@dataclass(frozen=True)
class Loss:
    """How much less a share is than another one of the same trials, such as points of accuracy.

    (sum of `before` - sum of `after`) / sum of `below`; the rest as of a Ratio.
    """

    before: str
    after: str
    below: str
    cluster: str = "index"
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairedDifference:
    """A Ratio of a group minus that of another, cluster by cluster, such as two schemes.

    between : the column of `by` in which the two groups differ; they agree in the others. Each
    group is compared with each one that came before it, or with the first one only.
    """

    above: str
    below: str
    cluster: str
    by: tuple[str, ...]
    between: str
    with_first_only: bool = False


Quantity: TypeAlias = Share | Ratio | Change | Loss | PairedDifference
QUANTITIES = {kind.__name__: kind for kind in (Share, Ratio, Change, Loss, PairedDifference)}


class Experiment(ABC):
    """One kind of trial with its parameters.

    columns : name -> type of every column of a row but `index`; values may be None.
    locations : fields of the spec that decide nothing, such as where something lies; they may
    change between runs of one campaign. names : fields, with wildcards, that name what others
    decide: they are told beside a difference, and are none themselves. code : packages whose
    sources decide what a trial gives.
    """

    columns: ClassVar[Mapping[str, ColumnType]]
    locations: ClassVar[frozenset[str]] = frozenset()
    names: ClassVar[frozenset[str]] = frozenset({"network", "config.name", "configs.*.name"})
    code: ClassVar[tuple[str, ...]] = (
        "compiler",
        "config",
        "faults",
        "isa",
        "network",
        "simulator",
    )

    @property
    def quantities(self) -> Sequence[Quantity]:
        """What is estimated from the rows."""
        return ()

    @property
    def together(self) -> int:
        """Trials that say something only together, such as all schemes on one pattern.

        The trials 0 .. `together` - 1 are a block, and so on. A campaign has whole blocks, looks at
        its margin after whole blocks, and counts no block that is not complete.
        """
        return 1

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """All that determines a trial but its index, as JSON: digests, seed, fault model, schemes.

        `seed` is an int. What stands here is kept in the campaign's file and compared with it.
        """

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The experiment again, in another process; cheap."""

    @abstractmethod
    def run(self, indices: Sequence[int]) -> list[TrialRow]:
        """One row a trial, in the order of `indices`: `index` and all columns, nothing else.

        A function of the spec and the index alone: no clock, no process, no other trial.
        """


def description(experiment: Experiment) -> dict[str, Any]:
    """What a campaign's file says about its trials: spec, columns, quantities, code."""
    spec = experiment.spec()
    seed = spec.get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InternalError(f"{type(experiment).__name__}: its spec has no seed")
    described = {
        "kind": type(experiment).__name__,
        "spec": spec,
        "columns": dict(experiment.columns),
        "quantities": [_described(quantity) for quantity in experiment.quantities],
        "together": experiment.together,
        "locations": sorted(experiment.locations),
        "names": sorted(experiment.names),
        "code": code_digest(*experiment.code)[:12],
    }
    return cast("dict[str, Any]", json.loads(json.dumps(described, allow_nan=False)))


def array_digest(path: Path) -> str:
    """A hash of the integers in an npy file, whatever it looks like, as a spec names its data."""
    import numpy as np

    held = np.load(path, allow_pickle=False)
    if held.dtype.kind not in "iu":
        raise InternalError(f"{path}: {held.dtype}, and integers are compared")
    values = np.ascontiguousarray(held, np.int8 if held.dtype == np.int8 else np.int64)
    return hashlib.sha256(f"{held.shape}".encode() + values.tobytes()).hexdigest()[:16]


def _described(quantity: Quantity) -> dict[str, Any]:
    return {"kind": type(quantity).__name__, **asdict(quantity)}


def quantity_of(described: Mapping[str, Any]) -> Quantity:
    """A quantity from what `description` made of it."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in described.items()
    }
    del fields["kind"]
    return QUANTITIES[described["kind"]](**fields)


def flat_fields(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """("protection.s_th", 0.05), ... of nested mappings; lists are values."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, inner in value.items():
        yield from flat_fields(inner, f"{name}.{key}" if name else str(key))


def checked_rows(
    columns: Mapping[str, str], rows: Sequence[TrialRow], indices: Sequence[int], who: str
) -> list[tuple[int, list[Value]]]:
    """(index, values in the order of columns) of what an experiment returned.

    Raises InternalError where that is not one row for each of `indices` with the declared columns.
    """
    if [row.get("index") for row in rows] != list(indices):
        raise InternalError(f"{who}: rows of other trials than {list(indices)[:3]}... were given")
    result = []
    for row in rows:
        if row.keys() != {"index", *columns}:
            names = sorted(row.keys() ^ {"index", *columns})
            raise InternalError(f"{who}: trial {row['index']} has a wrong column {names[0]}")
        values = [_plain(row[name], columns[name], name, who) for name in columns]
        result.append((cast("int", row["index"]), values))
    return result


def _plain(value: Any, kind: str, name: str, who: str) -> Value:
    if value is None:
        return None
    if hasattr(value, "item"):  # a NumPy number
        value = value.item()
    if kind == "float" and type(value) is int:
        value = float(value)
    right = type(value) is COLUMN_TYPES[kind]  # a bool is no int here
    if not right or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        raise InternalError(f"{who}: {name} = {value!r} is no {kind}")
    if isinstance(value, float) and math.isnan(value):
        return math.nan  # one NaN, whatever its bits
    return cast("Value", value)

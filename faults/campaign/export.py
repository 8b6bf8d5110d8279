"""A campaign's rows as CSV or Parquet: sorted by index, the same bytes however it was run."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from ...errors import FlexhycaError
from .experiment import TrialRow
from .store import Campaign

_GROUP = 65_536  # rows of a Parquet row group


def write_csv(campaign: Campaign, path: Path) -> int:
    """One header line, then one line a trial; None is an empty field. Returns the trials."""
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["index", *campaign.columns], lineterminator="\n")
        writer.writeheader()
        for count, row in enumerate(campaign.prefix(), 1):  # noqa: B007
            writer.writerow(row)
    return count


def write_parquet(campaign: Campaign, path: Path) -> int:
    """The same with int64, float64 and string columns, None as null. Returns the trials."""
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise FlexhycaError(
            f"{path}: Parquet needs pyarrow; run pip install 'flexhyca[parquet]', or write .csv"
        ) from None
    types = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}
    columns = {"index": "int", **campaign.columns}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    count = 0
    with ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _groups(campaign.prefix()):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def _groups(rows: Iterator[TrialRow]) -> Iterator[list[TrialRow]]:
    while group := list(itertools.islice(rows, _GROUP)):
        yield group

"""Prove that the working tree gives the same numbers as a commit: for refactoring.

    python benchmarks/compare_commits.py COMMIT [--only GROUP ...] [--name TEXT]
        [--base-cache DIR] [--jobs N]

Both trees run the same commands (`compare_commands.py`) and nothing but commands, so that internals
may move; what they print, and the JSON, CSV, program and text files that they write, is compared
value by value.  Exit code 0 if all are equal, 1 if not.  With --base-cache the commit's results are
kept for the next call; delete the folder at will.

Trees are copies, named after the digest of their files, and have Numba's cache beside them: Numba
looks at the file of a kernel only, and would go on with an old one whose callee has changed in
another file.  So the first commands of a new tree wait for the compiler.

Left out, because equal results may differ in them: seconds; where temporary files lie; the version
of the package; and `code`, the digest of the sources that a campaign's file carries: it is there to
change with any edit of them.  Campaign files and pictures are left out, too; a campaign's rows and
description are exported and compared.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from compare_commands import GROUPS, Job, jobs, write_inputs
from compare_worker import Tree, committed, git, working
from safetensors import safe_open

NUMBER = re.compile(r"[-+(\[]*\d[\d,.]*(e[-+]?\d+)?[%),;:\]]*")
UNSTABLE = {
    r"\b\d[\d,]*\.\d+ s\b": "SECONDS",
    r"[^\s\"':]*/tmp[a-z0-9_]{8}\b": "TEMPORARY",
    r"\bflexhyca \d+\.\d+\.\d+\b": "flexhyca VERSION",
    r"(?<=version of flexhyca )[0-9a-f]{12}\b": "CODE",
}
SHOWN = 8  # differences of a group that are named
Values = dict[str, Any]  # where -> number or word as text, or a tensor


def read(folder: Path) -> Values:
    """Everything that a job left."""
    values: Values = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".fhx":
            with safe_open(path, "np") as file:
                values |= {f"{path.name} {key}": file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                values |= leaves(file.metadata(), path.name)
            values[f"{path.name} sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
            continue
        text = stable(path.read_text())
        if path.suffix == ".csv":
            table = csv.DictReader(io.StringIO(text))
            values[f"{path.name} columns"] = ",".join(table.fieldnames or ())
            for number, row in enumerate(table):
                values |= {f"{path.name} row {number} {key}": cell for key, cell in row.items()}
        elif path.suffix == ".json" or text.startswith(("{\n", "[\n")):
            values |= leaves(json.loads(text), path.name)
        else:
            for number, line in enumerate(text.splitlines(), start=1):
                words = enumerate(re.findall(r"\s*\S+", line), start=1)
                values |= {f"{path.name} line {number} word {n}": word for n, word in words}
    return values


def stable(text: str) -> str:
    """The text without what equal code may give differently."""
    for pattern, name in UNSTABLE.items():
        text = re.sub(pattern, name, text)
    # MyHDL writes the signals that a block of Verilog waits for in the order of a set.
    return re.sub(r"@\((.*?)\)", lambda found: " ".join(sorted(re.split("[, ]+", found[1]))), text)


def leaves(value: object, where: str) -> Iterator[tuple[str, str]]:
    """(place, text) of everything in JSON, but for what equal code may give differently."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "code" and not key.endswith("_seconds"):
                yield from leaves(inner, f"{where} {key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{where}[{number}]")
    else:
        yield where, json.dumps(value)


@dataclass
class Found:
    """What comparing gave: of a job, or of all jobs of a group."""

    numbers: int = 0
    words: int = 0
    differing: int = 0
    refused: int = 0
    crashed: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Add a job to its group."""
        for name in ("numbers", "words", "differing", "refused", "crashed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first += other.first[: SHOWN - len(self.first)]


def compare(job: Job, base: Values, work: Values) -> Found:
    """Count values, and those that differ or are on one side only."""
    found = Found()
    for where in base | work:
        pair = base.get(where), work.get(where)
        one = next(value for value in pair if value is not None)
        if isinstance(one, np.ndarray):
            size = one.size
            found.numbers += size
        else:
            size = 1
            number = NUMBER.fullmatch(one.strip()) is not None
            found.numbers += number
            found.words += not number
            if where.startswith("exit_codes.txt"):
                found.refused += one == "2"
                found.crashed += one not in ("0", "2")
        if differing := differences(*pair, size):
            found.differing += differing
            found.first.append(
                f"{job.group} {job.name}: {where}: {short(pair[0])} -> {short(pair[1])}"
            )
    return found


def differences(base: Any, work: Any, size: int) -> int:
    """How many of `size` values differ."""
    if not isinstance(base, np.ndarray) or not isinstance(work, np.ndarray):
        return size if type(base) is not type(work) or base != work else 0
    if (base.dtype, base.shape) != (work.dtype, work.shape):
        return size
    return int((base != work).sum())


def short(value: object) -> str:
    """A value in a line."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return "nothing" if value is None else str(value)[:60]


def kept(tree: Tree, key: str, job: Job, store: Path, folder: Path) -> Path:
    """Where the base's result of a job is; it is computed in `folder` if `store` lacks it."""
    target = store / "results" / hashlib.sha256(f"{key} {job}".encode()).hexdigest()[:20]
    if not target.exists():
        tree.run(job.steps, folder)
        target.parent.mkdir(exist_ok=True)
        near = Path(tempfile.mkdtemp(dir=target.parent))
        shutil.copytree(folder, near, dirs_exist_ok=True)
        with suppress(OSError):  # another call was faster
            near.rename(target)
    return target


def run_both(args: argparse.Namespace, scratch: Path) -> dict[str, Found]:
    """Run all jobs of the groups that were asked for, and print what they gave as they end."""
    store = (args.base_cache or scratch).resolve()
    store.mkdir(parents=True, exist_ok=True)
    base, work = Tree.plant(committed(args.commit), store), Tree.plant(working(), store)
    versions = [f"{name} {version(name)}" for name in ("numpy", "torch", "numba", "scipy")]
    inputs = write_inputs(scratch / "inputs")
    # With the commands, all that a result depends on.
    key = f"{git('rev-parse', f'{args.commit}^{{commit}}')} {sys.version} {versions} {inputs}"
    found = {group: Found() for group in GROUPS if group in args.only}

    def both(numbered: tuple[int, Job]) -> tuple[Job, Found, float]:
        number, job = numbered
        start = time.monotonic()
        own = scratch / f"work{number}"
        own.mkdir()
        (scratch / f"base{number}").mkdir()
        before = kept(base, key, job, store, scratch / f"base{number}")
        work.run(job.steps, own)
        result = compare(job, read(before), read(own))
        shutil.rmtree(own)
        shutil.rmtree(scratch / f"base{number}")
        return job, result, time.monotonic() - start

    chosen = [job for job in jobs() if job.group in found and args.name in job.name]
    try:
        with ThreadPoolExecutor(args.jobs) as pool:
            for job, result, seconds in pool.map(both, enumerate(chosen)):
                found[job.group].add(result)
                counts = f"{result.numbers:,} numbers, {result.differing:,} differ"
                if result.refused or result.crashed:
                    counts += f"; {result.refused} refused, {result.crashed} ended by a bug"
                print(f"{seconds:6.1f} s  {job.group} {job.name}: {counts}", file=sys.stderr)
    finally:
        base.stop()
        work.stop()
    print(
        f"{len(chosen)} jobs, {os.times().children_user + os.times().children_system:.0f} s of CPU"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commit", help="what the working tree is compared with")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP",
                        help=", ".join(GROUPS))  # fmt: skip
    parser.add_argument("--name", default="", metavar="TEXT",
                        help="only jobs with this in their name, such as digits")  # fmt: skip
    parser.add_argument("--base-cache", type=Path, metavar="DIR",
                        help="keep the commit's results, and compiled kernels")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="commands at once")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = run_both(args, Path(scratch))
    for group, total in found.items():
        print(f"{group}: {total.numbers:,} numbers and {total.words:,} words compared, "
              f"{total.differing:,} differ; {total.refused} commands refused, "
              f"{total.crashed} ended by a bug")  # fmt: skip
        for line in total.first:
            print(f"  {line}")
    sys.exit(any(total.differing for total in found.values()))


if __name__ == "__main__":
    main()

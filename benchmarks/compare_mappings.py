"""Cycles, DRAM bytes and compile time of every shipped network, before and after a change.

    python benchmarks/compare_mappings.py run OUT.jsonl        # with the sources of one commit
    python benchmarks/compare_mappings.py table BEFORE.jsonl AFTER.jsonl

`run` needs nothing that is new, so it can be run from a checkout of an older commit, too. A network
that is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from flexhyca import api
from flexhyca.compiler.networks import NETWORKS
from flexhyca.config import load_config

#: Machines by fields alone: older commits do not ship them.
_VTA = (
    "array.rows=16 array.cols=16 array.double_buffered_accumulators=true arithmetic.acc_bits=32 "
    "buffers.ifmap_bytes=32768 buffers.weight_bytes=262144 buffers.output_bytes=131072 "
    "dram.bytes_per_cycle=8 dram.latency_cycles=20 vec.lanes=16"
)
_GEMMINI = (
    "array.rows=16 array.cols=16 array.double_buffered_accumulators=true arithmetic.acc_bits=32 "
    "buffers.ifmap_bytes=131072 buffers.weight_bytes=131072 dram.bytes_per_cycle=16 vec.lanes=16"
)
MACHINES = {
    "base-32x32": ("base-32x32", ""),
    "flexhyca-32x32": ("flexhyca-32x32", ""),
    "hyca-32x32": ("hyca-32x32", ""),
    "base-32x32 ws": ("base-32x32", "array.dataflow=ws"),
    "base-32x32 8x128": ("base-32x32", "array.rows=8 array.cols=128"),
    "Gemmini, 16 bytes a cycle": ("base-32x32", _GEMMINI),
    "VTA": ("base-32x32", _VTA),
}


def run(out: Path) -> None:
    """A line of JSON for each network and machine."""
    there = {(row["machine"], row["network"]) for row in rows(out)} if out.exists() else set()
    for machine, (name, sets) in MACHINES.items():
        config = load_config(name, sets.split())
        for network in NETWORKS:
            if (machine, network) in there:
                continue
            built = api.build(network, config, timing_only=True, placement="random")
            result = api.simulate(built.program, values="none")
            row = {
                "machine": machine,
                "network": network,
                "cycles": int(result.cycles),
                "bytes": int(sum(result.dram.values())),
                "compile": round(built.seconds["compile"], 2),
            }
            print(row, flush=True)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")


def rows(path: Path) -> list[dict[str, Any]]:
    """What `run` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(before: Path, after: Path) -> None:
    """A row for each network and machine of both."""
    old = {(row["machine"], row["network"]): row for row in rows(before)}
    print("| machine | network | cycles | ratio | MB | ratio | compile, s |")
    print("|---" * 7 + "|")
    for row in rows(after):
        was = old.get((row["machine"], row["network"]))
        if was is None:
            continue
        cells = [row["machine"], row["network"]]
        for what, scale, form in (("cycles", 1, ",.0f"), ("bytes", 1e6, ",.2f")):
            cells.append(f"{was[what] / scale:{form}} -> {row[what] / scale:{form}}")
            cells.append(f"{row[what] / was[what]:.3f}")
        cells.append(f"{was['compile']} -> {row['compile']}")
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run")
    one.add_argument("out", type=Path)
    one.set_defaults(call=lambda args: run(args.out))
    two = commands.add_parser("table")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    two.set_defaults(call=lambda args: table(args.before, args.after))
    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()

"""The traffic question: what recomputing important neurons adds to DRAM traffic and to cycles.

    python benchmarks/traffic.py OUT [--workers N] [--weights W.npz --data IMAGES.npz]

Runs `flexhyca sweep` (resumable) on resnet50, vgg16 and, with weights and images, on resnet20 with
its real gradients, and prints the tables of docs/traffic.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

SHARES = "0.02,0.05,0.1,0.2,0.4"
#: Dot sizes that keep up with those shares on average: 4 neurons a group of 4 multipliers.
GROWING = "24,52,104,208,412"


def sweep(out: Path, name: str, *options: str) -> pd.DataFrame:
    """One sweep; a second call only reads what is there."""
    csv = out / f"{name}.csv"
    command = [sys.executable, "-m", "flexhyca", "sweep", *options, "--csv", str(csv)]
    subprocess.run(command, check=True)
    return pd.read_csv(csv)


def table(frame: pd.DataFrame, index: list[str], columns: str) -> str:
    """Extra traffic over weight bytes and cycles over base, in per cent: operands + tables."""
    cells = frame.assign(
        cell=[
            f"{100 * total:.1f} ({100 * tables:.1f}) / {100 * (cycles - 1):+.1f}"
            for total, tables, cycles in zip(
                frame.extra_total, frame.extra_tables, frame.cycles_over_base, strict=True
            )
        ]
    )
    wide = cells.pivot(index=index, columns=columns, values="cell").reset_index()
    lines = ["| " + " | ".join(map(str, wide.columns)) + " |", "|---" * len(wide.columns) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in wide.itertuples(index=False)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--weights")
    parser.add_argument("--data")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    workers = ("--workers", args.workers)
    modes = ("--vary", "dppu.data_reuse=array,hybrid,hybrid_sram,dram")
    policies = ("--vary", "protection.s_policy=global,uniform,tile")
    shares = ("--vary", f"protection.s_th={SHARES}")
    grown = ("--vary", f"protection.s_th={SHARES} dppu.size={GROWING}")
    synthetic = ("--vary", "placement=random,clustered")
    runs = {model: ((model,), synthetic) for model in ("resnet50", "vgg16")}
    if args.weights and args.data:
        real = ("resnet20", "--weights", args.weights, "--data", args.data)
        runs["resnet20"] = (real, ("--vary", "placement=gradient,random,clustered"))
    index = ["placement", "protection.s_policy", "protection.s_th"]
    for model, (options, placements) in runs.items():
        paper = ("--set", "protection.s_th=0.05")
        at_paper = sweep(
            args.out, f"{model}-modes", *options, *paper, *placements, *policies, *modes, *workers
        )
        print(f"\n### {model}: modes at s_th 0.05\n")
        print(table(at_paper, index[:2], "dppu.data_reuse"))
        over = sweep(
            args.out, f"{model}-shares", *options, *placements, *policies, *shares, *workers
        )
        print(f"\n### {model}: hybrid over s_th, DPPU of 52\n")
        print(table(over, index[:2], "protection.s_th"))
        over = sweep(args.out, f"{model}-grown", *options, *placements, *policies, *grown, *workers)
        print(f"\n### {model}: hybrid over s_th, DPPU growing with it ({GROWING})\n")
        print(table(over, index[:2], "protection.s_th"))


if __name__ == "__main__":
    main()

"""Cycles beside those of real circuits: single layers on Gemmini, whole networks on VTA.

    python benchmarks/validate_cycles.py REFERENCE.csv [--write docs/validation.md]

REFERENCE.csv has a row a layer (C, K, N, P, Q, R, S, stride: channels in and out, images, output
rows and columns, window rows and columns) and what RTL simulation of Gemmini's default 16x16 array
took: `best_mapped_cycles`, and `auto_cycles` of its own tiler three times. Every layer runs on
`gemmini-16x16` with the memory that its authors state and with the one that two layers show. The
bodies of ResNet-18 and ResNet-34 run on `vta-1x16x16`. Takes minutes. --write puts the tables
between the marks of that page.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from flexhyca import api
from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.frontends.topology import TopologyRow, network_of
from flexhyca.config import Config, load_config
from flexhyca.network.layers import NO_TENSOR, Network
from flexhyca.simulator.run import simulate

#: What Gemmini's authors state of its memory: a bus of 16 bytes, nothing lost.
NOMINAL = ("dram.bytes_per_cycle=16", "dram.request_cycles=0")
#: Cycles of VTA's own cycle-accurate simulator, without the first convolution and the classifier,
#: which its host computes (apache/tvm-vta, pull request 30).
VTA = {"resnet18": 7_729_601, "resnet34": 15_736_441}
BEST = "best_mapped_cycles"
BEGIN, END = "<!-- begin of what benchmarks/validate_cycles.py writes -->\n", "<!-- end -->\n"


def layer_of(row: Any, config: Config) -> Network:
    """A row of the reference as a network of one layer; the map includes its padding."""
    height, width = ((n - 1) * row.stride + k for n, k in ((row.P, row.R), (row.Q, row.S)))
    shape = TopologyRow("layer", height, width, row.R, row.S, row.C, row.K, row.stride)
    return network_of((shape,), "layer", config.arithmetic)


def body(network: Network) -> Network:
    """The layers of the stages: what VTA itself computes of a ResNet."""
    own = [i for i, layer in enumerate(network.layers) if layer.name.startswith("layer")]
    ends = [(la.input, la.output, la.residual) for la in (network.layers[i] for i in own)]
    used = sorted({t for tensors in ends for t in tensors if t != NO_TENSOR})
    new = {NO_TENSOR: NO_TENSOR} | {tensor: at for at, tensor in enumerate(used)}
    return replace(
        network,
        tensors=tuple(network.tensors[t] for t in used),
        layers=tuple(
            replace(network.layers[i], input=new[a], output=new[out], residual=new[b])
            for i, (a, out, b) in zip(own, ends, strict=True)
        ),
        weights={at: network.weights[i] for at, i in enumerate(own) if i in network.weights},
        biases={at: network.biases[i] for at, i in enumerate(own) if i in network.biases},
        input=new[ends[0][0]],
        output=new[ends[-1][1]],
    )


def cycles(network: Network, config: Config, batch: int = 1) -> int:
    """Of a network on a machine."""
    return simulate(compile_network(network, config, batch=batch), values="none").cycles


def gemmini(reference: Path) -> pd.DataFrame:
    """A row a layer: RTL, and ours with both memories."""
    frame = pd.read_csv(reference)
    frame["auto"] = [
        int(statistics.median(map(int, text.split()))) for text in frame.auto_cycles.astype(str)
    ]
    for name, sets in (("nominal", NOMINAL), ("calibrated", ())):
        config = load_config("gemmini-16x16", list(sets))
        frame[name] = [
            cycles(layer_of(row, config), config, row.N) for row in frame.itertuples(index=False)
        ]
    return frame


def summary(frame: pd.DataFrame, ours: str, theirs: str) -> list[str]:
    """Cells: median ratio, mean error, layers within 20 %, rank correlation."""
    ratio = frame[ours] / frame[theirs]
    error = (ratio - 1).abs()
    rank = frame[ours].rank().corr(frame[theirs].rank())
    return [
        ours,
        theirs,
        f"{ratio.median():.3f}",
        f"{100 * error.mean():.1f} %",
        f"{int((error <= 0.2).sum())} of {len(frame)}",
        f"{rank:.4f}",
    ]


def table(header: str, rows: Iterable[Sequence[object]]) -> list[str]:
    """Markdown."""
    lines = [header, "|---" * (header.count("|") - 1) + "|"]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]


def report(reference: Path) -> str:
    """All tables."""
    frame = gemmini(reference)
    pairs = [(ours, rtl) for ours in ("nominal", "calibrated") for rtl in (BEST, "auto")]
    lines = table(
        "| memory | RTL | median ours / RTL | mean absolute error | within 20 % | rank corr. |",
        [summary(frame, *pair) for pair in pairs],
    )
    lines += ["", f"Layers ({len(frame)}), the furthest from RTL last:", ""]
    frame["ratio"] = frame.calibrated / frame[BEST]
    frame["far"] = (frame.ratio - 1).abs()
    lines += table(
        "| channels | window, stride | output | RTL, best of three mappings | RTL, own tiler | "
        "nominal | calibrated | calibrated / RTL |",
        [
            (
                f"{row.C} -> {row.K}",
                f"{row.R}x{row.S}, {row.stride}",
                f"{row.P}x{row.Q}",
                *(f"{n:,}" for n in (getattr(row, BEST), row.auto, row.nominal, row.calibrated)),
                f"{row.ratio:.2f}",
            )
            for row in frame.sort_values("far").itertuples(index=False)
        ],
    )
    config = load_config("vta-1x16x16")
    ours = {n: cycles(body(api.build(n, config, timing_only=True).network), config) for n in VTA}
    lines += ["", "VTA:", ""]
    lines += table(
        "| network | VTA's simulator | ours | ours / VTA's |",
        [(n, f"{v:,}", f"{ours[n]:,}", f"{ours[n] / v:.3f}") for n, v in VTA.items()],
    )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("--write", type=Path, help="the page whose tables these are")
    args = parser.parse_args()
    text = report(args.reference)
    if args.write is None:
        print(text)
        return
    before, _, rest = args.write.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    args.write.write_text(before + BEGIN + "\n" + text + "\n" + END + after)


if __name__ == "__main__":
    main()

"""PE-cycles per second: the numba stepper against a Verilator build of the same 16x16 array.

    python benchmarks/bench_rtl.py [--repeat 5]

Both step one tile of K = 512 without faults, hooks in place, on one core; the ratio is of one run,
with the repeats interleaved. Needs Verilator and a C++ compiler (minutes to compile).
"""

from __future__ import annotations

import argparse
import subprocess
import time

import numpy as np

from flexhyca.config import Arithmetic
from flexhyca.hdl.netlist.pe import Datapath
from flexhyca.hdl.rtl.blocks import ports
from flexhyca.hdl.rtl.players import Verilator, array_verilog
from flexhyca.hdl.rtl.stimulus import port_values, split
from flexhyca.simulator.array.os_array import os_tile
from flexhyca.simulator.array.timing import os_tile_cycles

SIZE, K, TILES = 16, 512, 200


def main() -> None:
    """Print cycles per second of both, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    rng, datapath = np.random.default_rng(0), Datapath()
    act, wgt = (rng.integers(-128, 128, (SIZE, K)).astype(np.int8) for _ in range(2))
    start = np.zeros((SIZE, SIZE), np.int32)
    cycles = os_tile_cycles(K, SIZE, SIZE)

    def stepped() -> np.ndarray:
        return os_tile(act, wgt, start, rows=SIZE, cols=SIZE, arithmetic=Arithmetic())[0]

    inputs = {
        name: len(signal)
        for name, signal in ports(SIZE, SIZE, datapath).items()
        if name not in ("clk", "bus")
    }
    begin = time.perf_counter()
    text = array_verilog(SIZE, SIZE, datapath)
    rtl = Verilator(text, "array", inputs, {"bus": SIZE * datapath.acc_bits})
    print(f"compiled in {time.perf_counter() - begin:.0f} s")
    played = [{}] * (SIZE + 2)
    played += list(port_values(act, wgt, start, [], SIZE, SIZE, datapath, cycles))
    shown = rtl.run(played)[-SIZE:]
    want = stepped()
    assert [split(row["bus"], SIZE, datapath.acc_bits) for row in shown] == want.tolist()

    pes = SIZE * SIZE
    times: dict[str, list[float]] = {"numba": [], "verilator": []}
    for _ in range(repeat):
        begin = time.perf_counter()
        for _ in range(TILES):
            stepped()
        times["numba"].append((time.perf_counter() - begin) / (TILES * cycles * pes))
        begin = time.perf_counter()
        command = [str(rtl.folder / "obj_dir" / "Top"), "steps.bin", "out.bin", str(TILES)]
        subprocess.run(command, cwd=rtl.folder, check=True)
        steps_run = TILES * len(played)
        times["verilator"].append((time.perf_counter() - begin) / (steps_run * pes))
    best = {name: min(values) for name, values in times.items()}
    for name, seconds in best.items():
        print(f"{name}: {1e-6 / seconds:,.0f} M PE-cycles/s")
    print(f"ratio: {best['verilator'] / best['numba']:.1f}")


if __name__ == "__main__":
    main()

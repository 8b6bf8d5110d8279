"""Play steps on emitted Verilog in Icarus or Verilator, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import FlexhycaError, InternalError
from ..netlist.pe import Datapath
from .blocks import array_block, ports

PortInputs = Mapping[str, int]


def array_verilog(
    rows: int, cols: int, datapath: Datapath, name: str = "array", faults: bool = True
) -> str:
    """The array of `blocks`, converted by MyHDL; with `faults` it has flip inputs."""
    signals = ports(rows, cols, datapath, faults)
    block = array_block(*signals.values(), rows, cols, datapath)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # outputs at the edge of the array are driven, not read
        block.convert(hdl="Verilog", path=folder, name=name, no_myhdl_header=True, testbench=False)
        return (Path(folder) / f"{name}.v").read_text(encoding="utf-8")


class Rtl(ABC):
    """A Verilog module, compiled; inputs and outputs in the order and with the widths given."""

    def __init__(
        self, verilog: str, top: str, inputs: Mapping[str, int], outputs: Mapping[str, int]
    ) -> None:
        self.inputs, self.outputs = dict(inputs), dict(outputs)
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        (self.folder / "top.v").write_text(verilog, encoding="utf-8")
        self.top = top
        self._compile()

    @abstractmethod
    def _compile(self) -> None: ...

    @abstractmethod
    def run(self, steps: Sequence[PortInputs]) -> list[dict[str, int]]:
        """The outputs in each step, before its clock edge."""

    def _call(self, *command: str) -> None:
        tool = command[0]
        if shutil.which(tool) is None and not Path(tool).exists():
            raise FlexhycaError(f"{tool} is not installed; on Debian: apt-get install {tool}")
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[:1] or ["no message"]
            raise InternalError(f"{Path(tool).name}: {last[0]}")


class Icarus(Rtl):
    """Icarus Verilog; needs no compiler, and is slow."""

    def _compile(self) -> None:
        width = sum(self.inputs.values())
        names = ", ".join(reversed(self.inputs))
        declared = [f"  reg [{bits - 1}:0] {name};" for name, bits in self.inputs.items()]
        declared += [f"  wire [{bits - 1}:0] {name};" for name, bits in self.outputs.items()]
        wired = ", ".join(f".{name}({name})" for name in ["clk", *self.inputs, *self.outputs])
        shown = " ".join("%h" for _ in self.outputs)
        bench = [
            "`timescale 1ns/1ns",
            "module bench;",
            "  reg clk = 0;",
            *declared,
            f"  reg [{width - 1}:0] line;",
            "  integer file, got;",
            f"  {self.top} dut ({wired});",
            "  initial begin",
            '    file = $fopen("steps.hex", "r");',
            '    while ($fscanf(file, "%h\\n", line) == 1) begin',
            f"      {{{names}}} = line;",
            f'      #1 $display("{shown}", {", ".join(self.outputs)});',
            "      clk = 1; #1 clk = 0;",
            "    end",
            "  end",
            "endmodule",
        ]
        (self.folder / "bench.v").write_text("\n".join(bench) + "\n", encoding="utf-8")
        self._call("iverilog", "-g2005-sv", "-o", "bench.vvp", "bench.v", "top.v")

    def run(self, steps: Sequence[PortInputs]) -> list[dict[str, int]]:
        """See `Rtl.run`; unknown bits read as 0."""
        digits = -(-sum(self.inputs.values()) // 4)
        with (self.folder / "steps.hex").open("w", encoding="utf-8") as file:
            for step in steps:
                line, at = 0, 0
                for name, bits in self.inputs.items():
                    line |= step.get(name, 0) << at
                    at += bits
                file.write(f"{line:0{digits}x}\n")
        done = subprocess.run(
            ["vvp", "-n", "bench.vvp"], cwd=self.folder, capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in done.stdout.splitlines()]
        return [
            {
                name: int(value.replace("x", "0"), 16)
                for name, value in zip(self.outputs, row, strict=True)
            }
            for row in rows
        ]


class Verilator(Rtl):
    """Verilator and a C++ compiler: minutes to compile what is large, and then fast."""

    def _compile(self) -> None:
        (self.folder / "main.cpp").write_text(self._driver(), encoding="utf-8")
        self._call(
            "verilator",
            "--cc",
            "--exe",
            "--build",
            "-O3",
            "-CFLAGS",
            "-O3",
            "--top-module",
            self.top,
            "--prefix",
            "Top",
            "main.cpp",
            "top.v",
        )

    def run(self, steps: Sequence[PortInputs]) -> list[dict[str, int]]:
        """See `Rtl.run`."""
        parts = []
        for step in steps:
            for name, bits in self.inputs.items():
                parts.append(step.get(name, 0).to_bytes(4 * _words(bits), "little"))
        (self.folder / "steps.bin").write_bytes(b"".join(parts))
        self._call(str(self.folder / "obj_dir" / "Top"), "steps.bin", "out.bin", "1")
        words = np.fromfile(self.folder / "out.bin", "<u4").tobytes()
        found, at = [], 0
        for _ in steps:
            row = {}
            for name, bits in self.outputs.items():
                size = 4 * _words(bits)
                row[name] = int.from_bytes(words[at : at + size], "little")
                at += size
            found.append(row)
        return found

    def _driver(self) -> str:
        read = "".join(
            f"      get(&top.{name}, {_words(bits)}, {bits});\n"
            for name, bits in self.inputs.items()
        )
        write = "".join(
            f"      put(&top.{name}, {_words(bits)}, {bits});\n"
            for name, bits in self.outputs.items()
        )
        return _DRIVER.replace("@READ@", read).replace("@WRITE@", write)


def _words(bits: int) -> int:
    return -(-bits // 32)


#: Plays a file of steps `repeat` times; values are words of 32 bits, lowest first.
_DRIVER = """#include "Top.h"
#include "verilated.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

static std::vector<uint32_t> in;
static std::vector<uint32_t> out;
static size_t at;

static size_t bytes(int bits) {
  return bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : bits <= 64 ? 8 : 4 * ((bits + 31) / 32);
}
static void get(void *port, int words, int bits) {
  memcpy(port, &in[at], bytes(bits));
  at += words;
}
static void put(const void *port, int words, int bits) {
  size_t first = out.size();
  out.resize(first + words);
  memcpy(&out[first], port, bytes(bits));
}

int main(int argc, char **argv) {
  FILE *file = fopen(argv[1], "rb");
  uint32_t word;
  while (fread(&word, 4, 1, file) == 1) in.push_back(word);
  fclose(file);
  Top top;
  for (int i = 0; i < atoi(argv[3]); ++i) {
    out.clear();
    for (at = 0; at < in.size();) {
@READ@      top.clk = 0;
      top.eval();
@WRITE@      top.clk = 1;
      top.eval();
    }
  }
  file = fopen(argv[2], "wb");
  fwrite(out.data(), 4, out.size(), file);
  fclose(file);
  return 0;
}
"""

"""Circuits as Verilog and MyHDL: emitted, played, synthesised, proved.

`emit` writes files for a user, `verilog` and `netlist_block` from netlists, `blocks` the whole
array; `players` run Verilog in Icarus or Verilator on a `stimulus`; `yosys` synthesises, `prove`
uses it.
"""

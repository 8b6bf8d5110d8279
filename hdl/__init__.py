"""The processing element in hardware: circuits as data, Verilog and MyHDL, area.

`netlist` has the circuits and the passes that protect them: start there. `rtl` writes, plays and
proves them, `area` says what they cost, and `check` runs everything that can be checked. What is
protected is said in `flexhyca.isa` (`columns`), not here.
"""

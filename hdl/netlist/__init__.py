"""Circuits as data: cells in columns, and what follows from the list by NumPy alone.

`netlist` and `cells` are the two tables: start there. `pe` and `dppu` build the plain circuits,
`tmr` and `configurable` are passes that protect them, `design` applies them; `evaluate` and
`gate_faults` run them, `cost` adds up area and delay.
"""

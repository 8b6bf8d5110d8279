"""The 2-D array of processing elements: its registers, step by step, and what follows exactly.

Start with `unit`: what each dataflow answers (time, step, correct, hold, count); `dataflows` is
the table.  `os_array` is the output-stationary one; `stationary_array` the two that hold an
operand, alike but for the `roles` of their registers.  Each has a register-true stepper, which
defines values and cycles, and exact corrections of fault-free sums (numba).  `timing` has the
closed forms of both, `tile` what a tile is in numbers; faults of a tile are `flips`, and copies are
voted by `voters`, which the DPPU shares.

Shapes and operands come in as numbers; programs, layers and tiles are `simulator.text`.
"""

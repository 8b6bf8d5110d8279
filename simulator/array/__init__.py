"""The 2-D array of processing elements: its registers, step by step, and what follows exactly.

For each dataflow (`os`; `ws` and `is`, which hold one operand): `stepper`, `stepper_stationary`
step every register and define values and cycles; `array_faults`, `stationary_faults` correct
fault-free sums for faults; `stored` says what a register holds in a step, `live` when that is used;
`timing` has the cycles. Faults of a tile are `flips`, and copies are voted by `voters`, which the
DPPU shares.

Shapes and operands come in as numbers; programs, layers and tiles are `simulator.text`.
"""

"""The accelerator: cycles, DRAM traffic and bit-exact values of a compiled program.

Start with `run.simulate`.  `engines` is the cycle model (SimPy between engines, closed forms inside
a tile), `stepper` the register-true reference array that defines those closed forms, `memory`
executes instructions byte by byte, `functional` computes whole layers fast.  All of them read a
program and nothing else; nothing here quantises or tiles.
"""

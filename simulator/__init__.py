"""The accelerator: cycles, DRAM traffic and bit-exact values of a compiled program.

Start with `run.simulate`. `text` says what a program amounts to; `cycles` is the cycle model,
`machine` executes instructions byte by byte; `array` and `dppu` are the two computing units,
register by register, and define the closed forms that the others use; `inject` runs a program with
faults. All of them read a program and nothing else; nothing here quantises or tiles, and whole
layers at once are `flexhyca.network.functional`.
"""

"""The dot-product unit in one tile: its schedule, its registers step by step, and what follows.

`schedule` says when which group reads what; `stepper` steps every flip-flop by it, `faults`
corrects sums exactly, `stored` and `live` say what a register holds and when it is used. `taps` are
the register files that catch the array's operand streams, as the cycle models need them.
"""

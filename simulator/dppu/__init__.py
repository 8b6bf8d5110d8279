"""The dot-product unit in one tile: its schedule, its registers step by step, and what follows.

Start with `unit`: what it answers (time, step, correct, hold, count). `schedule` says when which
group reads what; `stepper` steps every flip-flop by it, `corrections` corrects sums exactly, `held`
says what a register holds and when that is used. `taps` are the register files that catch the
array's operand streams, as the cycle models need them.
"""

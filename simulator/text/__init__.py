"""What a program amounts to, by walking its text and tables before anything runs.

`work` has what each instruction moves and computes, `spans` the tiles as stretches of the text,
with the times of their parts. No values and no waiting: these are `simulator.machine` and `cycles`.
"""

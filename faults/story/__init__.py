"""The story of a fault in words: what was stored, what it became, what it reached.

`explain` tells it: start there. `contents` and `buffer_contents` say what a register or a word of a
buffer holds in the fault-free run, `hit_words` what became of it, `region` what was reached.
"""

"""Faults: what is flipped, what it means, and campaigns of many of them.

`models` is the table of what can be drawn. `campaign` runs the trials of any experiment and keeps
and counts them: start there. `machine` draws bits of registers, buffers and instructions, `ber`
flips all stored bits at a rate, `story` tells one fault in words. See docs/campaigns.md,
docs/faults.md and docs/ber.md. One run with given faults is `flexhyca.simulator.inject`.
"""

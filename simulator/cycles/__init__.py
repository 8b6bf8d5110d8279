"""When everything happens: engines, tokens, DRAM, stalls and traffic.

`engines` is the event-driven reference, written to be read: start there. `compiled` is its compiled
twin, equal in every number. `dram` has the DRAM models, `stalls` why an engine stands still,
`trace` and `occupancy` what a recorded run did; `scalesim` imitates published cycles. Cycles inside
a tile are closed forms of `simulator.array` and `simulator.dppu`.
"""

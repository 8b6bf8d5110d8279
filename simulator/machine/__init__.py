"""The byte-accurate machine: every instruction executed on DRAM, buffers and slots.

`memory` is the slow reference for values; `vector_unit` what its vector unit reads for layers
without weights.  Time is not kept here (`simulator.cycles`), and faults are added in
`simulator.inject`.
"""

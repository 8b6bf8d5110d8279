"""Integers -> program: tiles, buffers, loads, position tables, instructions.

`emit` is the door. In the order of the work: `plan` cuts each layer into `tiles` and says which
blocks must be in the buffers for them (`plan_conv` where there are weights); `units` adds position
tables (`positions`) where the buffer for them is full; `memory_map` and `constants` lay out the
DRAM; `prefetch` loads a unit's blocks (`loads`, `buffers`) while the one before is computed; `emit`
writes the tiles' instructions into a `text`, which knows who has to wait for whom.
"""

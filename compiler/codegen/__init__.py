"""Integers -> program: tiles, buffers, loads, position tables, instructions.

`emit` is the door: plans of all layers (`plan`) become one text, unit by unit.
"""

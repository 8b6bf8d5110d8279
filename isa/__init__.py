"""The tables: instructions, layer descriptors, registers, protected columns, and the program file.

Start with `instructions` (what an engine executes) and `registers` (what state there is). Nothing
here runs a program: `compiler` writes it and `simulator` executes it.
"""

"""The tables: instructions, registers, layers, fixed-point rules, and the program file.

Start with `instructions` (what an engine executes) and `layers` (what a network computes). Nothing
here runs a program: `compiler` writes it and `simulator` executes it.
"""

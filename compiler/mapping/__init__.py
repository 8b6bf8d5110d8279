"""How each layer is cut into tiles, in which order they come, and what is loaded for them.

`candidates` compares all ways to cut a convolution by their estimated cost, `choose` times the best
few of a small layer, `plan` says which tiles a layer has; `codegen` emits them.
"""

"""Which neurons matter: measured by gradients (paper, Algorithm 1), or drawn.

`ranking` is the door: it measures scores and selects a share of them. `placement` draws rankings
for networks without trained weights. Who computes the neurons, and what that costs, is not known
here.
"""

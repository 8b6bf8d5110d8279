"""Float graph -> integers: layers without numbers (`lower`), then scales, weights and biases.

`quantiser` is the door. `calibrate` measures the float network, `scales` and `search` choose.
"""

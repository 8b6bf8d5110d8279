"""A quantised network in integers, that knows no machine.

`layers` is the table: what every layer computes. `fixedpoint` has the rules once, up to what the
vector unit stores, and `reference` executes a network by them, slowly and obviously right: start
there. `functional` does the same for batches of images, fast: `products` or `windows`, then the
vector unit in numba (`fixedpoint_kernels`) or torch (`fixedpoint_torch`), with wrong bits where
`upsets` name them (`wrong_bits`). `difference` follows what a fault changes until it dies out.

Nothing here knows tiles, buffers or cycles; nothing is quantised here (`compiler.quantise`).
"""

"""A quantised network in integers, that knows no machine.

`layers` is the table: what every layer computes. `fixedpoint` has the rules once, and `reference`
executes a network by them, slowly and obviously right: start there. `functional` does the same for
batches of images, fast (`products`, then `finish_kernels` or `steps`), with wrong bits where
`upsets` name them (`wrong_bits`); `difference` follows what a fault changes until it dies out.

Nothing here knows tiles, buffers or cycles; nothing is quantised here (`compiler.quantise`).
"""

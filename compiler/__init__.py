"""From a trained network to a program: graph, quantisation, importance, tiling, emission.

In the order of the work: `model.load_model` (start there) takes a name of `networks`, an ONNX file
or a torch module through `frontends` and `passes` to a `graph` of operations in floating point,
which `execute` runs. `quantise` makes integers of it, on the images of `data`; `importance` says
which neurons matter; `codegen` makes the program. `shapes` is the short cut where no value is asked
for. An operation is a row of `graph.OPS`, an activation one of `activations`.

Nothing here runs a program, and nothing knows cycles.
"""

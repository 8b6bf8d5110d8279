"""From a trained network to a program: graph, quantisation, importance, tiling, emission.

Front half: `networks` (what is shipped), `model`, `frontend_torch` and `frontend_onnx` (anything ->
`graph.Graph`), `passes`, `quantise` (-> `isa.layers.Network`), `importance`.  Start at
`model.load_model`.
"""

"""From a trained network to a program: graph, quantisation, importance, tiling, emission.

Front half: `networks` (what is shipped), `model`, `frontends` (anything -> `graph.Graph`),
`passes`, `quantise` (-> `network.layers.Network`), `importance`. Back half: `codegen` (->
`isa.program.Program`). Start at `model.load_model`. Nothing here runs a program.
"""

"""Areas: of one processing element by its parameters, and of whole machines.

`table` is the shipped table of processing elements: start there. `pe_area` works a row out,
`ranking` compares orders of rows, `machine` adds up a configuration in three scopes. What is
protected is said in `flexhyca.isa`, and circuits are `hdl.netlist`; nothing here synthesises
(`hdl.rtl.yosys`).
"""

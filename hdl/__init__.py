"""The PE in hardware: netlist, MyHDL, area. Empty until that step comes (see CHANGELOG)."""

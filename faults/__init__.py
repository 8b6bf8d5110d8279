"""Faults: what is flipped and what it means. Empty until the fault models come (see CHANGELOG)."""

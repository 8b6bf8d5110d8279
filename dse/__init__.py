"""The search over designs. Empty until that step comes (see CHANGELOG)."""

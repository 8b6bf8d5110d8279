"""Areas: the shipped table of processing elements, rankings of it, and whole machines."""

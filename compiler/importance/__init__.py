"""Which neurons matter: measured by gradients (`ranking`, Algorithm 1), or drawn (`placement`)."""

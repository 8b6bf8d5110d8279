"""What a plan consists of: tiles, runs and fills, and the loads that bring a layer's blocks."""

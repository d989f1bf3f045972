"""Many configurations: grids, random draws, halving, searches, and an honest choice."""

"""Random decision processes: drawn from a key, finite, and solved exactly, to see what holds of more than one example."""

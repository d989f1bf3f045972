"""Running an algorithm: seeds side by side, chunks, checkpoints, devices, quarantine."""

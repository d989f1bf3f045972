"""Gridworlds: walks over maps, most of them finite, so that optimal values are known exactly."""

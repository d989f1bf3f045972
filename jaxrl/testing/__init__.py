"""Checks of environments and algorithms that a user may call."""

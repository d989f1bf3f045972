"""Environments of other projects as ours, and ours as theirs."""

"""Speed and memory: what ours takes, and what the libraries take that others use for the same."""

"""Learning from comparisons: labels, reward models, direct losses, and whole loops."""

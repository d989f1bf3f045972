"""The foundation: environments, spaces, finite models, rollouts, and the protocol of an algorithm."""

"""What everything rests on: environments, spaces, finite models, rollouts, and what an algorithm is."""

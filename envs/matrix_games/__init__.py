"""Games in normal form: all choose at the same time and are paid. Played once, for some rounds, or without end."""

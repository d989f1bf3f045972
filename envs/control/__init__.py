"""Control: continuous states of physical systems, in discrete or continuous actions."""

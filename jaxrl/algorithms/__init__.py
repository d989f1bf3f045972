"""Training loops: ``make(task, config)`` in every file."""

"""Numbers on disk: the folder of a run, its tables, and what follows a run."""

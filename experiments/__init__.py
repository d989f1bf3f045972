"""Experiments: one script per paper or figure, in a folder for each area. ``jaxrl list`` names them, ``jaxrl run`` runs one."""

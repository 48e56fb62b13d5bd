"""Launchers of the recognition trainers, one per method, over one shared trainer."""

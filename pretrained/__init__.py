"""Weights made by others, and the readers that turn their files into our networks."""

"""Videos to features: one program per stage, and `extract.py`, which runs every stage in one pass over each video."""

"""The networks that look at frames: CLIP's towers and the action network."""

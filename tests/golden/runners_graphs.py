"""Golden runners of the extractors' frame sampling and of grid tiles."""

RUNNERS = {"graphs/frame_sampling": None}

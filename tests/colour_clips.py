"""A corpus that any network can learn: clips of one colour each, and a caption that names it."""

import json
from pathlib import Path

import numpy as np

from utility.video_writer import write_video

COLOURS = {
    "red": (220, 30, 30), "green": (30, 180, 30), "blue": (40, 60, 230), "yellow": (230, 220, 40),
    "white": (240, 240, 240), "black": (15, 15, 15),
}  # fmt: skip


def make_colour_corpus(root: Path, per_split: dict[str, int] | None = None, captions: int = 1) -> Path:
    """`root/videos`, `root/metadata/captions.json`; counts are clips per colour and split."""
    per_split = per_split or {"train": 3, "validate": 1, "test": 1}
    rng = np.random.default_rng(0)
    videos, sentences = [], []
    (root / "videos").mkdir(parents=True)
    (root / "metadata").mkdir()
    for split, count in per_split.items():
        for colour, value in [item for item in COLOURS.items() for _ in range(count)]:
            name = f"clip{len(videos)}"
            picture = np.clip(np.array(value) + rng.normal(0, 8, (32, 48, 3)), 0, 255).astype(np.uint8)
            write_video(root / "videos" / f"{name}.mp4", [picture] * int(rng.integers(3, 7)), 4, preset="ultrafast")
            videos.append({"video_id": name, "split": split})
            texts = [f"a {colour} clip", f"{colour} all over", f"everything is {colour}"][:captions]
            sentences += [{"video_id": name, "caption": text} for text in texts]
    content = {"videos": videos, "sentences": sentences}
    (root / "metadata" / "captions.json").write_text(json.dumps(content), encoding="utf-8")
    return root

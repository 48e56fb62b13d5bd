"""Searching a folder of videos by sentences: one vector per video, kept in the feature store.

Shape letters: V videos, F feature rows of a video, T frames, E embedding width.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.clip_frames import FrameSettings, decode_frames
from dataset.clips import FrameOrder, choose_frames, pad_clip
from dataset.corpus import find_videos, listed, unique_ids, video_folder
from dataset.stored_settings import reading_of
from pretrained.retrieval_runs import build_stored, open_run
from utility.checkpoint import tensors_hash
from utility.clip_text import ClipTokenizer
from utility.contact_sheet import ranked_sheet
from utility.feature_store import FeatureStore, FeatureWriter, feature_path
from utility.images import to_clip
from utility.video import VideoError

log = logging.getLogger(__name__)

FEATURE = "retrieval"


class VideoIndex:
    """The videos of a folder as a retrieval checkpoint sees them.

    Features are kept in `FOLDER/features/` (beside `videos/` where the folder is one of these), a file per set of
    weights; only videos that are new or have changed are encoded. Those that cannot be read are kept as such.

    Args:
        checkpoint: as `pretrained.retrieval_runs.open_run` takes it.
        folder: with video files, sub-folders included.
        features: where features are kept, for folders that cannot be written to.

    Attributes:
        names, paths: of the videos that could be read.

    Raises:
        FileNotFoundError, ValueError: no checkpoint, a published file that does not tell its method, or no video.
        PermissionError: the features cannot be kept.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        folder: Path,
        device: torch.device,
        batch_size: int = 32,
        features: Path | None = None,
    ):
        run = open_run(checkpoint)
        self.config, self.reading = run.config, reading_of(run.config)
        self.model = build_stored(run).to(device)
        self.device, self.batch_size = device, batch_size
        folder = Path(folder).expanduser().resolve()
        if not folder.is_dir():
            raise FileNotFoundError(f"--videos {folder} is not a folder")
        files = unique_ids(find_videos(video_folder(folder)), video_folder(folder))
        if not files:
            raise ValueError(f"--videos {folder}: no video file in it")
        root = folder.parent if folder.name == "videos" else folder
        weights = tensors_hash(run.checkpoint.tensors)
        tag = f"{run.config['backbone'].get('name', 'retrieval')}-{weights[:8]}"
        kept = features.expanduser() if features is not None else root / "features"
        try:
            (kept / tag).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PermissionError(
                f"{kept} cannot be written ({error.strerror}); give another folder with --index"
            ) from error
        store = feature_path(kept / tag, root.name, FEATURE)
        self._encode(files, store, {"weights": weights, **asdict(self.reading)})

    def rank(self, sentence: str) -> list[tuple[str, Path, float]]:
        """(id, file, cosine) of every video, best first; the cosine is the bare logit for tightTransf."""
        ids = ClipTokenizer().pack([sentence], self.reading.max_words)[0].to(self.device)
        with torch.no_grad():
            text = self.model.encode_text(ids).float()
            video, mask = self.video.to(self.device), self.mask.to(self.device)
            scores = self.model.similarity_matrix(text, video, mask)[0].float().cpu()
        if self.model.header != "tightTransf":
            scores = scores / self.model.clip.logit_scale.detach().exp().float().cpu()
        order = scores.argsort(descending=True, stable=True).tolist()
        return [(self.names[i], self.paths[i], float(scores[i])) for i in order]

    def _encode(self, files: dict[str, Path], store: Path, settings: dict[str, Any]) -> None:
        keys = {name: _key(name, path) for name, path in files.items()}
        with FeatureWriter(store, settings, keep=("features",)) as writer:
            todo = [name for name in files if keys[name] not in writer.done]
            log.info("%d videos, %d of them to encode", len(files), len(todo))
            for start in range(0, len(todo), self.batch_size):
                clips = {}
                for name in todo[start : start + self.batch_size]:
                    try:
                        clips[name] = self._clip(files[name])
                    except VideoError as error:
                        # Kept as well: what cannot be read now cannot be read until the file changes.
                        writer.write(keys[name], {}, {"failed": f"{name}: {error.stage}: {error.cause}"})
                for name, features, mask in self._features(clips):
                    writer.write(keys[name], {"features": features, "mask": mask})
            writer.finish()
        stored = FeatureStore(store)
        causes = {name: stored.attributes(keys[name]).get("failed") for name in files}
        self.names = [name for name in files if causes[name] is None]
        self.paths = [files[name] for name in self.names]
        rows = [stored[keys[name]] for name in self.names]
        stored.close()
        failed = [cause for cause in causes.values() if cause is not None]
        if not rows:
            raise ValueError(f"none of the {len(failed)} videos can be read: {listed(failed)}")
        if failed:
            log.warning("%d videos cannot be read and are left out: %s", len(failed), listed(failed, 10))
        self.video = torch.from_numpy(np.stack([row["features"] for row in rows]))
        self.mask = torch.from_numpy(np.stack([row["mask"] for row in rows]))

    def _clip(self, path: Path) -> tuple[Tensor, Tensor]:
        how = self.reading
        frames = decode_frames(path, FrameSettings(how.slots, how.rate, how.size, how.slice_framepos, how.rule))
        order = FrameOrder(how.rule == "segments", how.order, how.repeat)
        chosen = choose_frames(len(frames), how.frames, False, order, np.random.default_rng(0))
        return pad_clip(frames[torch.from_numpy(chosen)], how.frames)

    @torch.no_grad()
    def _features(self, clips: dict[str, tuple[Tensor, Tensor]]) -> list[tuple[str, Tensor, Tensor]]:
        if not clips:
            return []
        described = self.config["backbone"]
        frames, masks = (torch.stack([clip[part] for clip in clips.values()]) for part in (0, 1))
        pixels = to_clip(frames.to(self.device), described["mean"], described["std"])
        features = self.model.encode_video(pixels, masks.to(self.device)).float().cpu()
        return list(zip(clips, features, masks, strict=True))


def search_folder(find: Any, device: torch.device, batch_size: int) -> None:
    """Ranks a folder of videos by a sentence, prints the best (JSON on standard output) and draws them.

    Args:
        find: has search, checkpoint, videos, index, top and sheet, the flags of these names.
    """
    kept = Path(find.index) if find.index else None
    index = VideoIndex(find.checkpoint, Path(find.videos), device, batch_size, kept)
    best = index.rank(find.search)[: find.top]
    for place, (name, _, similarity) in enumerate(best, 1):
        print(f"{place:3}  {similarity:.3f}  {name}", file=sys.stderr)
    sheet = Path(find.sheet or "search.png")
    ranked_sheet(find.search, best, sheet)
    found = [{"video": name, "file": str(file), "similarity": similarity} for name, file, similarity in best]
    answer = {"search": find.search, "videos": len(index.names), "best": found, "sheet": str(sheet)}
    print(json.dumps(answer, ensure_ascii=False))


def _key(name: str, path: Path) -> str:
    """The id of a video that changes with its file."""
    status = path.stat()
    return f"{name}|{status.st_size}|{status.st_mtime_ns}"

"""The slow sides of the retrieval rows reproduce the recorded outputs of CLIP, CLIP4Clip and STOP."""

from __future__ import annotations

import numpy as np
import torch

from model.prompts.spatial_temporal import direct_convolution
from scripts.benchmarks.proof import accepted, agree, fixtures, with_inputs
from scripts.benchmarks.retrieval_rows import paired_blocks


@torch.no_grad()
def clip_towers(small: bool) -> list[str]:
    """Plain CLIP against fixtures `towers`."""
    with_inputs()
    import runners_clip4clip

    return accepted("clip4clip/towers", runners_clip4clip.towers)


@torch.no_grad()
def stop_sums(small: bool) -> list[str]:
    """STOP with its convolutions as sums against fixtures `stop/model`, if small only the first."""
    with_inputs()
    import runners_prompted

    proved = []
    for name, spec, path in fixtures("stop/model"):
        if small and proved:
            break
        model = runners_prompted.stop_model(spec, "released")
        model.dynamic.convolution = direct_convolution
        with np.load(path) as arrays:
            got = model.encode_video(runners_prompted.stop_video(spec))
            agree(name, got.reshape(arrays["visual_output"].shape), arrays["visual_output"], 1e-3)
        proved.append(name)
    return proved


def paired_evaluation(small: bool) -> list[str]:
    """An evaluation that takes every pair of blocks by itself against the fixtures `similarity` of seqTransf."""
    with_inputs()
    import runners_clip4clip

    proved = []
    for name, spec, path in fixtures("clip4clip/similarity"):
        if spec["config"]["sim_header"] != "seqTransf":
            continue
        model = runners_clip4clip.retriever(spec)
        with np.load(path) as arrays, torch.no_grad():
            mask = torch.from_numpy(arrays["video_mask"])
            text = model.encode_text(torch.from_numpy(arrays["text_ids"]))
            frames = model.encode_video(runners_clip4clip.clips(spec, mask))
            agree(name, paired_blocks(model, text, frames, mask, 2), arrays["sim_matrix"], 1e-3)
        proved.append(name)
    return proved


PROOFS = {"clip_towers": clip_towers, "stop_sums": stop_sums, "paired_evaluation": paired_evaluation}

"""Searching with published files, which say nothing of how videos were read, and what the picture shows."""

import numpy as np
import pytest
import torch

from extractors.video_search import VideoIndex
from model.backbone.clip import CLIP, CLIPConfig
from model.retrieval.methods import build_method
from pretrained.retrieval_weights import export_published
from utility.clip_text import ClipTokenizer
from utility.video_writer import write_video

NAMES = {"clip4clip": "pytorch_model.bin.3", "stop": "ckpt.pth.tar", "tempme": "best.pth"}
SIZES = {"max_frames": 4, "pixel_prompt": False, "tome_r": 0, "merge_layer": "1", "merge_frame_num": "4"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for number in range(3):
        picture = rng.integers(0, 256, (32, 40, 3)).astype(np.uint8)
        write_video(place / f"film {number}.mp4", [picture] * 5, 4, preset="ultrafast")
    return place


@pytest.mark.parametrize(("method", "rule"), [("clip4clip", "time"), ("stop", "segments"), ("tempme", "time")])
def test_a_published_checkpoint_searches_as_it_was_trained(method, rule, folder, tmp_path):
    torch.manual_seed(0)
    clip = CLIP(CLIPConfig(24, 32, 8, 64, 2, 1, 64, 2, 1, context_length=12))
    file = tmp_path / NAMES[method]
    export_published(file, method, build_method(method, clip, SIZES))
    index = VideoIndex(file, folder, torch.device("cpu"), features=tmp_path / "kept")
    reading = index.reading
    assert (reading.rule, reading.size, reading.max_words) == (rule, 32, 12)
    assert (reading.repeat, reading.frames) == (method == "tempme", 12 if method == "clip4clip" else 4)
    ranked = index.rank("a man cooks")
    assert {name for name, *_ in ranked} == {"film 0", "film 1", "film 2"}
    assert all(np.isfinite(similarity) for *_, similarity in ranked)


@pytest.mark.parametrize("header", ["seqLSTM", "seqTransf", "tightTransf"])
def test_a_published_header_ranks_by_cosines_or_by_its_own_score(header, folder, tmp_path):
    torch.manual_seed(0)
    clip = CLIP(CLIPConfig(64, 32, 8, 64, 1, 1, 64, 1, 1, context_length=16))
    model = build_method("clip4clip", clip, {"sim_header": header, "cross_num_hidden_layers": 1}).eval()
    export_published(tmp_path / "pytorch_model.bin.0", "clip4clip", model)
    index = VideoIndex(tmp_path / "pytorch_model.bin.0", folder, torch.device("cpu"), features=tmp_path / "kept")
    ids = ClipTokenizer().pack(["a man cooks"], 16)[0]
    with torch.no_grad():
        logits = model.similarity(model.encode_text(ids), index.video, index.mask)[0]
    scale = 1 if header == "tightTransf" else model.clip.logit_scale.exp().item()
    found = {name: similarity for name, _, similarity in index.rank("a man cooks")}
    assert [found[name] * scale for name in index.names] == pytest.approx(logits.tolist(), rel=1e-4, abs=1e-5)


def test_a_folder_without_a_readable_video_says_why(tmp_path):
    torch.manual_seed(0)
    clip = CLIP(CLIPConfig(24, 32, 8, 64, 1, 1, 64, 1, 1, context_length=12))
    export_published(tmp_path / "pytorch_model.bin.0", "clip4clip", build_method("clip4clip", clip))
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 1 videos can be read: a: open: the file is empty"):
        VideoIndex(tmp_path / "pytorch_model.bin.0", tmp_path / "films", torch.device("cpu"))

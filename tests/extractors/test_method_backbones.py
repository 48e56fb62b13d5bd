"""A checkpoint of any retrieval method is what the extractors look through: whole frames and tiles."""

from dataclasses import asdict

import pytest
import tiny
import torch

from extractors.base import Sampling, extract_file
from extractors.clip_features import GridNodes, WholeFrames
from model.backbone.clip import CLIP, CLIPConfig
from model.retrieval.methods import build_method
from model.retrieval.settings import MethodSettings
from pretrained.backbones import describe, load_backbone
from utility.checkpoint import save_checkpoint
from utility.images import CLIP_MEAN, CLIP_STD, clip_frames, to_clip
from utility.video import VideoReader

CONFIG = CLIPConfig(24, 32, 8, 32, 3, 2, 32, 1, 2, context_length=8, vocab_size=50)
SLOTS = 3


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    tiny.draw(path, 1)
    return path


@pytest.fixture(scope="module", params=["stop", "tempme", "unified"])
def run_folder(request, tmp_path_factory):
    torch.manual_seed(0)
    settings = MethodSettings(max_frames=4, lora_dim=2)
    model = build_method(request.param, CLIP(CONFIG), settings).eval()
    config = {"backbone": describe(CONFIG, "own", CLIP_MEAN, CLIP_STD), "method": request.param}
    folder = tmp_path_factory.mktemp(request.param)
    save_checkpoint(folder / "best", tensors=model.state_dict(), config=config | {"method_settings": asdict(settings)})
    return folder, model


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frames_and_tiles_are_videos_of_one_frame(run_folder, clip_file, precision):
    folder, model = run_folder
    backbone = load_backbone(folder)
    stages = [kind(backbone, torch.device("cpu"), precision, batch_size=5) for kind in (WholeFrames, GridNodes)]
    found = extract_file(clip_file, stages, Sampling(slots=SLOTS))
    frames, nodes = found["theta2"]["frames"], found["GBased"]["nodes"]
    assert frames.shape == (SLOTS, 24) and nodes.shape == (SLOTS, 9, 24)
    assert len({tuple(node) for node in nodes[0].round(4).tolist()}) == 9
    with VideoReader(clip_file) as reader:
        pictures = reader.frames(found["theta2"]["frame_index"][1:2].tolist())
    pixels = to_clip(clip_frames(pictures, CONFIG.resolution), CLIP_MEAN, CLIP_STD)
    with torch.inference_mode():
        expected = model.encode_video(pixels[:, None])[0, 0]
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if precision == "fp32" else {"rtol": 0.1, "atol": 0.1}
    torch.testing.assert_close(torch.from_numpy(frames[1]).float(), expected, **tolerance)

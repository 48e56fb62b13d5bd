"""A checkpoint of any retrieval method is a backbone of captions: extraction, graphs, training, a file's caption."""

from dataclasses import asdict

import pytest
import torch
from no_java import without_java
from tuned_films import caption_run, extract_films, make_films

import main
from model.backbone.clip import CLIP
from model.retrieval.methods import METHODS, build_method
from model.retrieval.settings import MethodSettings
from pretrained.backbones import describe, load_backbone
from utility.checkpoint import save_checkpoint
from utility.feature_store import FeatureStore


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return make_films(tmp_path_factory.mktemp("methods") / "films")


@pytest.mark.parametrize("method", METHODS)
def test_the_caption_pipeline_runs_on_every_method(method, films, tmp_path, capsys):
    plain = load_backbone(films / "clip")
    settings = MethodSettings(max_frames=4, lora_dim=2, regions=2)
    torch.manual_seed(0)
    network = build_method(method, CLIP(plain.clip.config), settings)
    network.clip.load_state_dict(plain.clip.state_dict(), strict=False)
    described = {"method": method, "method_settings": asdict(settings), "header": {"name": "meanP", "layers": 4}}
    described |= {"backbone": describe(network.clip.config, method, plain.mean, plain.std)}
    save_checkpoint(tmp_path / "retrieval/best", tensors=network.state_dict(), config=described)
    extract_films(films, tmp_path / "retrieval", method)
    (path,) = (films / "features" / method).glob("*_GBased_graph.hdf5")
    store = FeatureStore(path)
    assert len(store.ids) == 24 and store.settings["nodes"]["backbone"]["name"] == method
    with without_java():
        caption_run(films, tmp_path / "captions", features=method)
    capsys.readouterr()
    file = str(films / "videos/clip20.mp4")
    assert main.main(["--caption", file, "--checkpoint", str(tmp_path / "captions"), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith(f"{file}\t")

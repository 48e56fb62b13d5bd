"""Action networks from files and folders, and what is said when they are missing or are something else."""

import pytest
import torch

from model.backbone.i3d import I3D
from pretrained import i3d_weights
from pretrained.i3d_weights import load_i3d
from utility.checkpoint import file_hash, save_checkpoint


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file with the published layout: 400 classes, and none of the counters, as in the real one."""
    torch.manual_seed(0)
    network = I3D()
    path = tmp_path_factory.mktemp("weights") / "rgb_imagenet.pt"
    tensors = {name: value for name, value in network.state_dict().items() if not name.endswith("batches_tracked")}
    assert len(tensors) == 287
    torch.save(tensors, path)
    return path, network.eval()


@pytest.fixture
def small(tmp_path):
    torch.manual_seed(0)
    network = I3D(7, width=0.25, pool=(2, 2, 2))
    config = {"width": 0.25, "pool": [2, 2, 2], "resize": 72, "size": 64, "num_classes": 7}
    folder = tmp_path / "small-actions" / "best"
    save_checkpoint(folder, tensors=network.state_dict(), config={"action_network": config})
    return folder, network.eval(), config


def test_published_file(published):
    path, network = published
    loaded = load_i3d(path)
    assert (loaded.name, loaded.resize, loaded.size, loaded.length) == ("rgb_imagenet", 256, 224, 16)
    assert loaded.hash == file_hash(path)
    assert not loaded.model.training and not any(p.requires_grad for p in loaded.model.parameters())
    clip = torch.rand(1, 3, 9, 193, 193)
    with torch.inference_mode():
        assert torch.equal(loaded.model.extract(clip), network.extract(clip))


def test_name_is_looked_up_among_the_pretrained_weights(published, monkeypatch):
    monkeypatch.setattr(i3d_weights, "FOLDER", published[0].parent)
    assert load_i3d("rgb_imagenet.pt").model.feature_dim == 1024
    assert load_i3d().name == "rgb_imagenet"


def test_checkpoint_folder(small):
    folder, network, _ = small
    loaded = load_i3d(folder)
    assert (loaded.name, loaded.resize, loaded.size) == ("small-actions", 72, 64)
    clip = torch.rand(2, 3, 16, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded.model.extract(clip), network.extract(clip))
    assert load_i3d(folder.parent).hash == loaded.hash


def test_length_and_average_pool_of_a_checkpoint(small, tmp_path):
    _, network, config = small
    config = {**config, "pool": None, "length": 24}
    save_checkpoint(tmp_path / "other", tensors=network.state_dict(), config={"action_network": config})
    loaded = load_i3d(tmp_path / "other")
    assert loaded.length == 24 and loaded.model.pool is None


def test_missing_weights_say_where_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr(i3d_weights, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        load_i3d("rgb_imagenet.pt")
    for part in (
        "rgb_imagenet.pt",
        "in the folder pretrained",
        "50,883,138 bytes",
        "sha256 2609088c2e8c",
        "python -m pretrained.zoo get rgb_imagenet",
        "--action_network",
    ):
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"no action network mine\.pt; give a weight file"):
        load_i3d("mine.pt")


def change(path, tensors, **others):
    torch.save({**tensors, **others}, path)
    return path


def test_files_that_are_something_else(published, tmp_path):
    tensors = torch.load(published[0], weights_only=True)
    flow = change(tmp_path / "flow.pt", tensors, **{"Conv3d_1a_7x7.conv3d.weight": torch.zeros(64, 2, 7, 7, 7)})
    with pytest.raises(ValueError, match="2 input channels"):
        load_i3d(flow)
    other = change(tmp_path / "other.pt", {}, weight=torch.zeros(3))
    with pytest.raises(ValueError, match=r"no Conv3d_1a_7x7\.conv3d\.weight among its 1 tensors"):
        load_i3d(other)
    less = dict(tensors)
    del less["Mixed_4b.b0.bn.weight"]
    with pytest.raises(ValueError, match=r"missing Mixed_4b\.b0\.bn\.weight"):
        load_i3d(change(tmp_path / "less.pt", less))
    cut = tmp_path / "rgb_imagenet.pt"
    cut.write_bytes(published[0].read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"has 100,000 bytes instead of 50,883,138; get it again"):
        load_i3d(cut)


def test_other_class_counts_are_read_from_the_file(published, tmp_path):
    tensors = torch.load(published[0], weights_only=True)
    logits = {"logits.conv3d.weight": torch.zeros(157, 1024, 1, 1, 1), "logits.conv3d.bias": torch.zeros(157)}
    assert load_i3d(change(tmp_path / "charades.pt", tensors, **logits)).model.logits.conv3d.out_channels == 157


def test_checkpoints_that_are_something_else(small, tmp_path):
    _, network, config = small
    save_checkpoint(tmp_path / "captioner", tensors=network.state_dict(), config={})
    with pytest.raises(ValueError, match="not a checkpoint of an action network"):
        load_i3d(tmp_path / "captioner")
    del config["pool"]
    save_checkpoint(tmp_path / "old", tensors=network.state_dict(), config={"action_network": config})
    with pytest.raises(ValueError, match=r"config\.json lacks pool"):
        load_i3d(tmp_path / "old")


class Hostile:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a weight file ran')",)


def test_weight_files_run_no_code(tmp_path):
    torch.save({"logits.conv3d.weight": Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(ValueError, match="have to run code"):
        load_i3d(tmp_path / "hostile.pt")

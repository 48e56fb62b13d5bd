import pytest
import torch

from model.backbone.clip import CLIP, CLIPConfig
from model.recognition import METHODS, build
from pretrained.recogniser_weights import RecogniserCheckpoint, load_recogniser, read_recogniser, write_recogniser

SIZES = CLIPConfig(8, 16, 8, 16, 2, 2, 16, 2, 2, context_length=20, vocab_size=30)


def recogniser(name, **settings):
    return build(name, CLIP(SIZES), settings)


@pytest.mark.parametrize("name", METHODS)
def test_written_and_read_back(name, tmp_path):
    torch.manual_seed(0)
    first, second = recogniser(name), recogniser(name)
    written = RecogniserCheckpoint(
        first.learner_state(), {"ctx-len": 8}, 3, {"train": {"acc": [0.5], "loss": [1.0]}},
        {"optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.1}]}}, {"note": "text"},
    )  # fmt: skip
    file = tmp_path / "run" / "checkpoint.pth"
    write_recogniser(file, written)
    stored = torch.load(file, weights_only=True)
    assert {"context_state_dict", "optimizer_state_dict", "epoch", "training_history", "config"} < stored.keys()
    read, lines = load_recogniser(second, file)
    assert lines == [] and (read.epoch, read.config, read.history) == (3, written.config, written.history)
    assert read.training == written.training and read.other == {"note": "text"}
    for key, value in first.learner().items():
        assert torch.equal(second.learner()[key], value), key


def test_a_partial_load_must_be_asked_for_and_says_what_it_left(tmp_path):
    mean, attention = recogniser("dual_coop", temporal_pooling="mean"), recogniser("dual_coop")
    file = tmp_path / "best.pt"
    write_recogniser(file, RecogniserCheckpoint(mean.learner_state() | {"extra": torch.zeros(1)}))
    with pytest.raises(ValueError, match=r"best\.pt: .*missing temporal_pooling\.query.*unexpected extra"):
        load_recogniser(attention, file)
    _, lines = load_recogniser(attention, file, partial=True)
    assert "missing temporal_pooling.query" in lines and "unexpected extra" in lines
    assert torch.equal(attention.learner()["context_vectors_vision"], mean.learner()["context_vectors_vision"])
    longer = recogniser("dual_coop", ctx_len=4)
    _, lines = load_recogniser(longer, file, partial=True)
    assert "shape of context_vectors_text: [8, 16], this model has [4, 16]" in lines


def test_what_is_no_checkpoint_is_refused(tmp_path):
    file = tmp_path / "x.pt"
    torch.save({"state_dict": {"a": torch.zeros(1)}}, file)
    with pytest.raises(ValueError, match="no tensors under context_state_dict, it holds state_dict"):
        read_recogniser(file)
    torch.save({"context_state_dict": {"a": torch.zeros(1)}, "config": tmp_path}, file)
    with pytest.raises(ValueError, match="would have to run code"):
        read_recogniser(file)
    with pytest.raises(FileNotFoundError):
        read_recogniser(tmp_path / "none.pt")
    write_recogniser(file, RecogniserCheckpoint({"other": torch.zeros(1)}))
    with pytest.raises(ValueError, match="nothing in it fits Video-CoOp"):
        load_recogniser(recogniser("video_coop"), file, partial=True)

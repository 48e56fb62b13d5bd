import json
import os
import pickle
import pickletools
import zipfile

import pytest
import torch
from akg_file import heads, write_akg

from model.captioner import Captioner, CaptionerConfig
from pretrained.akg import TRAINED_WITH, load_torch_file
from pretrained.captioners import export_captioner, load_captioner
from utility.checkpoint import Checkpoint, load_tensors, save_checkpoint

WORDS = ["<PAD>", "<S>", "a", "dog", "runs", "fast"]
SIZES = {
    "graph_width": 16, "visual_width": 16, "visual_feed_forward": 24, "visual_layers": 1, "visual_positions": 8,
    "heads_r2l": 8, "heads_l2r": 2, "width": 12, "heads": 3, "feed_forward": 20, "layers": 1, "dropout": 0.2,
}  # fmt: skip
MODES = {
    "grid": {},
    "grid-rel": {"mode": "grid-rel", "rel_dim": 5},
    "grid-obj-rel": {"mode": "grid-obj-rel", "rel_dim": 5, "object_dim": 7},
}


def captioner(**changes):
    torch.manual_seed(0)
    return Captioner(CaptionerConfig(6, 4, len(WORDS), slots=5, nodes_per_slot=4, **(SIZES | changes))).eval()


@pytest.mark.parametrize("mode", MODES)
def test_an_akg_file_becomes_the_captioner_that_was_saved(tmp_path, mode):
    model = captioner(compat=TRAINED_WITH, no_skip=True, **MODES[mode])
    path = write_akg(tmp_path / "7.ckpt", model, WORDS, heads(model.config))
    stored = load_captioner(path)
    config = CaptionerConfig.from_dict(stored.config["captioner"])
    assert config == model.config
    assert stored.vocabulary == WORDS
    again = Captioner(config)
    load_tensors(again, stored.tensors, "the file")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    published = stored.config["published"]
    assert published["epoch"] == 7 and published["settings"]["feat"]["feature_dims"] == [512]
    json.dumps(stored.config)


def test_what_the_file_does_not_say_is_as_published(tmp_path):
    model = captioner(heads_r2l=16, heads_l2r=16, heads=12, visual_positions=32)
    stored = load_captioner(write_akg(tmp_path / "7.ckpt", model, WORDS, {"n_heads_big": 16, "n_heads_small": 16,
                                                                         "n_heads": 12}))  # fmt: skip
    read = stored.config["captioner"]
    assert (read["slots"], read["nodes_per_slot"], read["dropout"]) == (20, 9, 0.1)
    assert "graph_offset" not in read["compat"] and {"positions", "beam", "pad_edges"} <= set(read["compat"])
    assert stored.config["max_words"] == 20 and stored.config["features"] is None


def test_a_vocabulary_that_was_numbered_anew_keeps_its_order(tmp_path):
    model = captioner()
    table = {"<PAD>": 0, "<S>": 1, **{word: i for i, word in enumerate(WORDS[2:], len(WORDS))}}
    path = write_akg(tmp_path / "7.ckpt", model, WORDS, heads(model.config), vocab={"init_word2idx": table})
    assert load_captioner(path).vocabulary == WORDS


@pytest.mark.parametrize(
    ("vocab", "message"),
    [
        ({}, "has no vocabulary"),
        ({"init_word2idx": {"<PAD>": 0, "<S>": 1, "a": 2}}, "do not match, 3 words and 6 outputs"),
        ({"init_word2idx": {"a": 0, "<S>": 1, "b": 2}}, "must hold <PAD> 0"),
        ({"init_word2idx": {word: 2 * i for i, word in enumerate(WORDS)}}, "consecutive ids"),
        ({"init_word2idx": dict.fromkeys(WORDS, "x")}, "has no vocabulary"),
    ],
)
def test_vocabularies_that_cannot_be_are_refused(tmp_path, vocab, message):
    model = captioner()
    with pytest.raises(ValueError, match=message):
        load_captioner(write_akg(tmp_path / "7.ckpt", model, WORDS, heads(model.config), vocab=vocab))


class Runs:
    """What a hostile file asks for."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        (lambda mark: Runs(os.mkdir, mark), "mkdir"),
        (lambda mark: Runs(eval, f"__import__('os').mkdir({mark!r})"), "eval"),
        (lambda mark: Runs(pickle.loads, pickle.dumps(Runs(os.mkdir, mark))), "pickle"),
        (lambda mark: Runs(torch.hub.load_state_dict_from_url, f"file://{mark}"), "torch"),
    ],
)
@pytest.mark.parametrize("place", ["epoch", "config", "vc_model"])
def test_hostile_files_are_refused_by_name_and_run_nothing(tmp_path, attack, named, place):
    mark = str(tmp_path / "was run")
    content = {"epoch": 1, "vc_model": {"a": torch.zeros(1)}, "config": {"vocab": {}}}
    content[place] = attack(mark) if place == "epoch" else {"x": attack(mark)}
    torch.save(content, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=rf"refused: it names \S*{named}\S*, which is no part of a captioner"):
        load_captioner(tmp_path / "bad.ckpt")
    assert not os.path.exists(mark)


def test_the_one_name_that_is_let_in_can_do_nothing(tmp_path):
    """The record's class can be called and built, but a file can neither reach its methods nor change it."""
    from pretrained.akg import FeatureConfig

    model = captioner()
    path = write_akg(tmp_path / "7.ckpt", model, WORDS, heads(model.config))
    with zipfile.ZipFile(path) as file:
        (name,) = (entry for entry in file.namelist() if entry.endswith("data.pkl"))
        raw = file.read(name)
    asked = {argument for operation, argument, _ in pickletools.genops(raw) if operation.name == "GLOBAL"}
    assert "config FeatureConfig" in asked
    patched = tmp_path / "bad.ckpt"
    for evil in (b"cconfig\nFeatureConfig.__init__.__globals__\n", b"cposix\nsystem\n"):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(patched, "w", zipfile.ZIP_STORED) as new:
            for entry in old.namelist():
                data = old.read(entry)
                new.writestr(entry, data.replace(b"cconfig\nFeatureConfig\n", evil) if entry == name else data)
        with pytest.raises(ValueError, match="is refused"):
            load_torch_file(patched)
    assert "system" not in vars(FeatureConfig)


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"\x80\x02}q\x00.", b"PK\x03\x04broken"])
def test_files_that_are_no_checkpoints_are_refused(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.ckpt"):
        load_captioner(tmp_path / "x.ckpt")
    with pytest.raises(FileNotFoundError, match=r"gone\.ckpt"):
        load_captioner(tmp_path / "gone.ckpt")


def test_a_run_its_best_and_its_export_are_one_captioner(tmp_path):
    model = captioner()
    config = {"program": "captioner", "captioner": model.config.to_dict(), "features": None, "model_name": "x_GBased"}
    tables = {"triples": torch.arange(6.0)}
    save_checkpoint(tmp_path / "run/best", tensors=model.state_dict(), config=config, vocabulary=WORDS, tables=tables)
    best = load_captioner(tmp_path / "run/best")
    export_captioner(tmp_path / "best_model.pth", best)
    for place in ("run", "best_model.pth"):
        other = load_captioner(tmp_path / place)
        assert isinstance(other, Checkpoint) and (other.config, other.vocabulary) == (config, WORDS)
        assert torch.equal(other.tables["triples"], tables["triples"])
        assert all(torch.equal(value, other.tensors[name]) for name, value in best.tensors.items())
    save_checkpoint(tmp_path / "clip", tensors=model.state_dict(), config={"program": "retrieval"})
    with pytest.raises(ValueError, match="is not a checkpoint of a captioner"):
        load_captioner(tmp_path / "clip")

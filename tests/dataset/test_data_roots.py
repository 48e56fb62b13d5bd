"""Places of corpora: the flag, then paths.json, then the folder beside the readers."""

import json

import pytest

from dataset import data_roots
from dataset.arguments import CorpusArguments, open_corpus
from dataset.data_roots import data_root, dataset_default


def test_order_of_places(tmp_path):
    file = tmp_path / "paths.json"
    assert data_root(None, "UCF101", file) == data_roots.HERE / "UCF101"
    assert dataset_default(file) == "minimotion"
    file.write_text(json.dumps({"ucf-101": "/data/ucf", "HMDB51": "elsewhere", "dataset_default": "hmdb51"}))
    assert str(data_root(None, "UCF101", file)) == "/data/ucf"
    assert data_root(None, "HMDB51", file) == data_roots.HERE / "elsewhere"
    assert str(data_root("/given", "UCF101", file)) == "/given"
    assert dataset_default(file) == "hmdb51"


@pytest.mark.parametrize("text", ["[1]", '{"UCF101": 3}', "{"])
def test_a_broken_file_is_named(tmp_path, text):
    file = tmp_path / "paths.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=str(file)):
        data_root(None, "UCF101", file)


def test_captioning_and_retrieval_read_it_too(tmp_path, monkeypatch):
    file = tmp_path / "paths.json"
    metadata = tmp_path / "corpus" / "metadata"
    metadata.mkdir(parents=True)
    videos = {"videos": [{"video_id": "a", "split": "train"}], "sentences": [{"video_id": "a", "caption": "b c"}]}
    (metadata / "captions.json").write_text(json.dumps(videos))
    file.write_text(json.dumps({"MiniMotion": str(tmp_path / "corpus")}))
    monkeypatch.setattr(data_roots, "PATHS_FILE", file)
    assert open_corpus(CorpusArguments("minimotion")).root == tmp_path / "corpus"

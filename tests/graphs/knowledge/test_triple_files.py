"""Triples of a corpus on disk: settings, resume after a kill, training captions only."""

import json

import pytest

from graphs.knowledge.extraction import Triple
from graphs.knowledge.triple_files import OtherSettings, caption_settings, extract_corpus, read_triples
from graphs.knowledge.triples import main

CAPTIONS = {"b": ["a man rides a horse", "a man rides a horse"], "a \u72ac/1": ["a girl sings a song"], "c": ["rain"]}


class Words:
    """An extractor that counts its captions and can die."""

    def __init__(self, dies_at=None, style="x"):
        self.settings, self.seen, self.dies_at = {"extractor": style}, [], dies_at

    def extract(self, caption):
        if len(self.seen) == self.dies_at:
            raise KeyboardInterrupt
        self.seen.append(caption)
        words = caption.split()
        return [Triple(words[0], words[1], words[2])] if len(words) > 2 else []


def test_file_holds_every_video_in_the_order_of_the_corpus(tmp_path):
    extract_corpus(tmp_path / "t.jsonl", Words(), CAPTIONS, caption_settings("C", CAPTIONS))
    videos = list(read_triples(tmp_path / "t.jsonl"))
    assert [(v.video, v.captions, len(v.triples)) for v in videos] == [("b", 2, 2), ("a \u72ac/1", 1, 1), ("c", 1, 0)]
    assert videos[1].triples == [("a", "girl", "sings")]


def test_a_killed_run_goes_on_with_the_next_video(tmp_path):
    settings = caption_settings("C", CAPTIONS)
    extract_corpus(tmp_path / "whole.jsonl", Words(), CAPTIONS, settings)
    with pytest.raises(KeyboardInterrupt):
        extract_corpus(tmp_path / "t.jsonl", Words(dies_at=3), CAPTIONS, settings)
    assert not (tmp_path / "t.jsonl").exists()
    second = Words()
    extract_corpus(tmp_path / "t.jsonl", second, CAPTIONS, settings)
    assert second.seen == ["rain"]
    assert (tmp_path / "t.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert [path.name for path in tmp_path.glob("*.part")] == []
    third = Words()
    extract_corpus(tmp_path / "t.jsonl", third, CAPTIONS, settings)
    assert third.seen == []


def test_other_captions_or_another_extractor_are_refused(tmp_path):
    settings = caption_settings("C", CAPTIONS)
    with pytest.raises(KeyboardInterrupt):
        extract_corpus(tmp_path / "t.jsonl", Words(dies_at=3), CAPTIONS, settings)
    with pytest.raises(OtherSettings, match="extractor was 'x', now 'y'"):
        extract_corpus(tmp_path / "t.jsonl", Words(style="y"), CAPTIONS, settings)
    other = {**CAPTIONS, "c": ["snow"]}
    with pytest.raises(OtherSettings, match="hash"):
        extract_corpus(tmp_path / "t.jsonl", Words(), other, caption_settings("C", other))


def test_a_damaged_line_is_named(tmp_path):
    extract_corpus(tmp_path / "t.jsonl", Words(), CAPTIONS, caption_settings("C", CAPTIONS))
    with open(tmp_path / "t.jsonl", "a") as file:
        file.write('{"video": ')
    with pytest.raises(ValueError, match="line 5"):
        list(read_triples(tmp_path / "t.jsonl"))
    with pytest.raises(FileNotFoundError, match=r"graphs\.knowledge\.triples"):
        list(read_triples(tmp_path / "absent.jsonl"))


@pytest.fixture
def root(tmp_path):
    """A corpus whose test captions say other things than its training captions."""
    (tmp_path / "small/metadata").mkdir(parents=True)
    texts = {
        "t1": "a man rides a horse",
        "t2": "a girl cuts a cake",
        "v": "a cat chases a dog",
        "e": "a cow eats grass",
    }
    split = {"t1": "train", "t2": "train", "v": "validate", "e": "test"}
    content = {
        "videos": [{"video_id": name, "split": split[name]} for name in texts],
        "sentences": [{"video_id": name, "caption": text} for name, text in texts.items()],
    }
    (tmp_path / "small/metadata/captions.json").write_text(json.dumps(content))
    return tmp_path / "small"


def test_program_reads_training_captions_only(root):
    assert main(["--data_root", str(root)]) == 0
    found = {triple for video in read_triples(root / "knowledge/default/triples.jsonl") for triple in video.triples}
    assert found == {("man", "ride", "horse"), ("girl", "cut", "cake")}


def test_flags_of_the_program(root, capsys):
    words = ["--data_root", str(root)]
    assert main([*words, "--dry_run"]) == 0
    assert not (root / "knowledge").exists()
    assert main([*words, "--knowledge", "small", "--limit", "1"]) == 0
    assert [v.video for v in read_triples(root / "knowledge/small/triples.jsonl")] == ["t1"]
    assert main([*words, "--knowledge", "small"]) == 2
    assert "captions was 1, now 2" in capsys.readouterr().err
    assert main([*words, "--knowledge", "small", "--resume", "0"]) == 0
    assert main([*words, "--knowledge", str(root / "elsewhere") + "/k"]) == 0
    assert (root / "elsewhere/k/triples.jsonl").is_file()

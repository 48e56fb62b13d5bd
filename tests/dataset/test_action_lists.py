"""Readers of action lists: the published counts of the real lists, and small corpora of every layout."""

import json

import pytest

from dataset import data_roots
from dataset.action_lists import READERS
from dataset.corpus import CorpusError
from dataset.recognition_settings import RecognitionData


def counts(corpus):
    return {split: len(clips) for split, clips in corpus.splits.items()}


@pytest.mark.parametrize(("number", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_ucf101_published_counts(shared_data, tmp_path, number, train, test):
    corpus = READERS["ucf101"](tmp_path, shared_data / "annotations" / "ucf101", number)
    assert counts(corpus) == {"train": train, "test": test}
    assert len(corpus.classes) == 101
    # Sorting by code point instead of by number would exchange these two.
    assert corpus.classes.index("HammerThrow") > corpus.classes.index("Hammering")
    for clip in corpus.splits["train"][::500]:
        assert clip.name.startswith(corpus.classes[clip.label] + "/")
    assert not {c.group for c in corpus.splits["train"]} & {c.group for c in corpus.splits["test"]}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_hmdb51_published_counts(shared_data, tmp_path, number):
    corpus = READERS["hmdb51"](tmp_path, shared_data / "annotations" / "hmdb51", number)
    assert counts(corpus) == {"train": 3570, "test": 1530}
    assert len(corpus.classes) == 51 and corpus.classes[0] == "brush hair"
    assert {sum(c.label == k for c in corpus.splits["train"]) for k in range(51)} == {70}


def test_kinetics400_counts_of_a_research_groups_list(shared_data, tmp_path):
    corpus = READERS["kinetics400"](tmp_path, shared_data / "annotations" / "kinetics400")
    assert counts(corpus) == {"val": 19877}
    assert len(corpus.classes) == 400 and corpus.classes[0] == "abseiling"


def test_absent_files_are_told_and_none_at_all_is_refused(shared_data, tmp_path):
    corpus = READERS["ucf101"](tmp_path, shared_data / "annotations" / "ucf101")
    assert "13,320 of 13,320 clips are not under" in corpus.summary()[1]
    with pytest.raises(FileNotFoundError, match="none of the 13320 clips of UCF101"):
        corpus.on_disk()


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_ucf101_finds_files_in_class_folders_and_flat(tmp_path):
    (tmp_path / "classInd.txt").write_text("1 Archery\r\n2 Bowling\r\n")
    (tmp_path / "trainlist01.txt").write_text("Archery/v_Archery_g08_c01.avi 1\r\nBowling/v_Bowling_g09_c01.avi 2\r\n")
    (tmp_path / "testlist01.txt").write_text("Archery/v_Archery_g01_c01.avi\n")
    one = touch(tmp_path / "videos" / "Archery" / "v_Archery_g08_c01.mp4")
    two = touch(tmp_path / "videos" / "v_Bowling_g09_c01.avi")
    corpus = READERS["ucf101"](tmp_path)
    assert [clip.path for clip in corpus.splits["train"]] == [one, two]
    assert [clip.group for clip in corpus.splits["train"]] == ["v_Archery_g08", "v_Bowling_g09"]
    assert corpus.splits["test"][0].path is None
    there = corpus.on_disk()
    assert counts(there) == {"train": 2, "test": 0}
    assert there.summary()[1:] == [f"1 of 3 clips are not under {tmp_path}: Archery/v_Archery_g01_c01"]
    (tmp_path / "trainlist01.txt").write_text("Curling/v_Curling_g08_c01.avi 3\n")
    with pytest.raises(CorpusError, match=r"Curling/v_Curling_g08_c01\.avi is in no class"):
        READERS["ucf101"](tmp_path)


def test_hmdb51_lists_of_frame_folders(tmp_path):
    (tmp_path / "classInd.txt").write_text("0 brush_hair\n1 wave\n")
    (tmp_path / "hmdb51_train_split_1_rawframes.txt").write_text("brush_hair\\a_brush_hair_0 30 0\nwave\\b_3 12 1\n")
    (tmp_path / "hmdb51_val_split_1_rawframes.txt").write_text("wave\\c_1 9 1\n")
    touch(tmp_path / "wave" / "b_3" / "img_00001.jpg")
    corpus = READERS["hmdb51"](tmp_path)
    assert counts(corpus) == {"train": 2, "test": 1} and corpus.classes == ("brush hair", "wave")
    assert [clip.path for clip in corpus.splits["train"]] == [None, tmp_path / "wave" / "b_3"]
    assert corpus.splits["train"][0].group == "brush_hair/a_brush_hair"


def test_kinetics400_release_files_and_folders(tmp_path):
    (tmp_path / "annotations").mkdir()
    header = "label,youtube_id,time_start,time_end,split\n"
    (tmp_path / "annotations" / "train.csv").write_text(header + '"air drumming",abcdefghijk,5,15,train\n')
    (tmp_path / "annotations" / "val.csv").write_text(header + "abseiling,-bcdefghij_,0,10,val\n")
    one = touch(tmp_path / "videos" / "train" / "air drumming" / "abcdefghijk_000005_000015.mp4")
    corpus = READERS["kinetics400"](tmp_path)
    assert corpus.classes == ("abseiling", "air drumming")
    assert [(c.label, c.path) for c in corpus.splits["train"]] == [(1, one)]
    assert [(c.label, c.path) for c in corpus.splits["val"]] == [(0, None)]


@pytest.mark.parametrize("split", ["", "train/"])
def test_folder_per_class(tmp_path, split):
    touch(tmp_path / f"{split}waving" / "a.mp4")
    touch(tmp_path / f"{split}juggling" / "a.mp4")
    touch(tmp_path / f"{split}juggling" / "notes.txt")
    (tmp_path / f"{split}empty").mkdir()
    if split:
        touch(tmp_path / "test" / "waving" / "b.mkv")
    corpus = READERS["folder"](tmp_path)
    assert corpus.classes == ("juggling", "waving")
    assert counts(corpus) == ({"train": 2, "test": 1} if split else {"train": 2})
    assert len({clip.name for clip in corpus.splits["train"]}) == 2
    with pytest.raises(FileNotFoundError, match="no class folder with a video"):
        READERS["folder"](tmp_path / f"{split}empty")


def test_minimotion_takes_one_object_clips(tmp_path):
    metadata = tmp_path / "metadata"
    metadata.mkdir()
    videos = [{"video_id": f"video{n}", "split": s} for n, s in enumerate(["train", "train", "validate", "test"])]
    sentences = [{"video_id": v["video_id"], "caption": "something moves"} for v in videos]
    (metadata / "captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    shown = [["moves left"], ["moves left", "moves right"], ["spins"], ["moves left"]]
    objects = {f"video{n}": {"objects": [{"action": a} for a in acts]} for n, acts in enumerate(shown)}
    (metadata / "attributes.json").write_text(json.dumps({"videos": objects}))
    corpus = READERS["minimotion"](tmp_path)
    assert corpus.classes == ("moves left", "spins")
    assert counts(corpus) == {"train": 1, "val": 1, "test": 1}
    assert corpus.splits["val"][0].label == 1


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kinetics400"])
def test_missing_lists_say_where_to_put_them(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="--lists DIR"):
        READERS[name](tmp_path)


def test_flags_say_corpus_lists_split_and_place(tmp_path, monkeypatch):
    """`--data_root`, else paths.json, else dataset/NAME; `--dataset`, else what paths.json says."""
    lists, root, paths = tmp_path / "lists", tmp_path / "ucf", tmp_path / "paths.json"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n")
    for number in (1, 2):
        (lists / f"trainlist0{number}.txt").write_text(f"Archery/v_Archery_g0{number}_c01.avi 1\n")
        (lists / f"testlist0{number}.txt").write_text("Archery/v_Archery_g09_c01.avi\n")
        touch(root / "Archery" / f"v_Archery_g0{number}_c01.avi")
    monkeypatch.setattr(data_roots, "PATHS_FILE", paths)
    assert RecognitionData().kind == "minimotion"
    paths.write_text(json.dumps({"dataset_default": "UCF-101", "UCF101": str(root)}))
    for number in (1, 2):
        opened = RecognitionData(lists=str(lists), split_number=number).open()
        assert opened.name == "UCF101"
        assert [clip.group for clip in opened.splits["train"]] == [f"v_Archery_g0{number}"]
    with pytest.raises(FileNotFoundError, match="none of the 2 clips of UCF101 is under"):
        RecognitionData("ucf101", str(tmp_path / "elsewhere"), str(lists)).open()
    with pytest.raises(FileNotFoundError, match=r"no classInd\.txt of UCF101"):
        RecognitionData().open()
    with pytest.raises(ValueError, match="unknown dataset 'sports'; known: minimotion, ucf101"):
        RecognitionData("sports").open()

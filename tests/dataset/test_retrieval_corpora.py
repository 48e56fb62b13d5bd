"""Readers of the retrieval data sets: small files of the published forms, and the real lists where they are."""

import json
import pickle

import pytest

from dataset import CorpusError
from dataset.activitynet import read_activitynet
from dataset.arguments import CorpusArguments, open_corpus
from dataset.didemo import read_didemo
from dataset.lsmdc import read_lsmdc, read_pairs
from dataset.msrvtt import read_msrvtt
from dataset.msvd import read_msvd
from dataset.vatex import read_vatex


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content if isinstance(content, str) else json.dumps(content))


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_activitynet_joins_the_sentences_and_drops_the_prefix(tmp_path):
    entry = {"duration": 12.2, "timestamps": [[0, 5], [5, 12]], "sentences": ["A man runs.", " He stops."]}
    ids = ["v_-aB", "v_cD", "v_none"]
    write(tmp_path / "metadata", train_ids__json=ids, train__json=dict.fromkeys(ids[:2], entry))
    write(tmp_path / "metadata", val_ids__json=["v_eF"], val_1__json={"v_eF": entry})
    touch(tmp_path / "videos", "-aB.mp4", "v_eF.mkv")
    corpus = read_activitynet(tmp_path)
    assert corpus.splits == {"train": ["-aB", "cD"], "val": ["eF"], "test": ["eF"]}
    assert corpus.captions["cD"] == ["A man runs. He stops."] and corpus.segments["eF"] == (0.0, 13.0)
    assert corpus.missing == ["cD"] and corpus.videos["eF"].name == "v_eF.mkv"
    assert "1 ids of train_ids.json have no annotation" in corpus.notes[0]
    assert corpus.limited(1).segments.keys() == {"-aB", "eF"}


def test_didemo_joins_descriptions_and_finds_files_with_a_second_ending(tmp_path):
    def entry(video, text):
        return {"video": video, "description": text, "times": [[0, 1]]}

    for split, name in (("train", "1@N2_3_ab.mov"), ("val", "4@N5_6_cd.avi"), ("test", "7@N8_9_ef.3gp")):
        entries = [entry(name, "a dog"), entry("other.avi", "a cat"), entry(name, "runs off ")]
        write(tmp_path / "metadata", **{f"{split}_list__txt": f"{name}\n", f"{split}_data__json": entries})
    touch(tmp_path / "videos", "1@N2_3_ab.mov.mp4", "4@N5_6_cd.avi", "7@N8_9_ef.mp4")
    corpus = read_didemo(tmp_path)
    assert corpus.splits == {"train": ["1@N2_3_ab"], "val": ["4@N5_6_cd"], "test": ["7@N8_9_ef"]}
    assert corpus.captions["1@N2_3_ab"] == ["a dog runs off"] and not corpus.missing
    assert corpus.segments["7@N8_9_ef"] == (0.0, 31.0)


LINE = "{}\t00.00.01.000\t00.00.02.000\t00.00.01.000\t00.00.02.000\t{}\r\n"


def test_lsmdc_reads_six_fields(tmp_path):
    files = {
        "LSMDC16_annos_training__csv": LINE.format("1_A_00.01-00.02", "SOMEONE waits.") * 2,
        "LSMDC16_annos_val__csv": LINE.format("2_B_00.01-00.02", "Night."),
        "LSMDC16_challenge_1000_publictect__csv": LINE.format("3_C_00.01-00.02", "Rain."),
    }
    write(tmp_path / "metadata", **files)
    touch(tmp_path / "films", "1_A/1_A_00.01-00.02.avi", "3_C/3_C_00.01-00.02.avi")
    corpus = read_lsmdc(tmp_path, videos=tmp_path / "films")
    assert corpus.splits["train"] == ["1_A_00.01-00.02"] and corpus.missing == ["2_B_00.01-00.02"]
    assert corpus.captions["1_A_00.01-00.02"] == ["SOMEONE waits.", "SOMEONE waits."]
    write(tmp_path, broken__csv="clip\tsentence\n")
    with pytest.raises(CorpusError, match="line 1: 2 tab-separated fields"):
        read_pairs(tmp_path / "broken.csv")


def test_vatex_validates_on_the_test_list_unless_there_is_another(tmp_path):
    captions = {name: [f"{name} one", f"{name} two"] for name in ("a_000001_000011", "b", "c")}
    write(
        tmp_path / "metadata", ref_captions__json=captions, train_list__txt="a_000001_000011\nx\n", test_list__txt="b\n"
    )
    corpus = read_vatex(tmp_path)
    assert corpus.splits == {"train": ["a_000001_000011", "x"], "val": ["b"], "test": ["b"]}
    assert len(corpus.captions["b"]) == 2 and "1 videos of the lists have no caption: x" in corpus.notes[0]
    write(tmp_path / "metadata", val_list__txt="c\n")
    assert read_vatex(tmp_path).splits["val"] == ["c"]


def test_msvd_reads_the_retrieval_pickle_and_runs_nothing_in_it(tmp_path):
    folder = tmp_path / "metadata"
    folder.mkdir()
    (folder / "raw-captions.pkl").write_bytes(pickle.dumps({"x_1_2": [["a", "man"], ["someone"]]}))
    for split in ("train", "val", "test"):
        write(folder, **{f"{split}_list__txt": "x_1_2\n" if split == "test" else ""})
    assert read_msvd(tmp_path).captions == {"x_1_2": ["a man", "someone"]}
    (folder / "raw-captions.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(CorpusError, match=r"would load .*system"):
        read_msvd(tmp_path)


def test_missing_annotations_are_named(tmp_path):
    for reader, name in (
        (read_activitynet, "train_ids.json"),
        (read_didemo, "train_list.txt"),
        (read_lsmdc, "LSMDC16_annos_training.csv"),
        (read_vatex, "ref_captions.json"),
    ):
        with pytest.raises(FileNotFoundError, match=name):
            reader(tmp_path)


def test_msrvtt_lists_given_by_flags(tmp_path):
    videos = [{"video_id": f"video{n}", "split": "train"} for n in range(3)]
    sentences = [{"video_id": f"video{n}", "caption": f"text {n}"} for n in range(3)]
    write(
        tmp_path, data__json={"videos": videos, "sentences": sentences}, train__csv="video_id\r\nvideo0\r\nvideo1\r\n"
    )
    write(tmp_path, val__csv="key,vid_key,video_id,sentence\r\nret0,msr2,video2,another text\r\n")
    places = {"train_csv": tmp_path / "train.csv", "val_csv": tmp_path / "val.csv", "videos": tmp_path / "clips"}
    touch(tmp_path / "clips", "video1.mp4")
    args = CorpusArguments("msrvtt", str(tmp_path), str(tmp_path / "data.json"))
    corpus = open_corpus(args, **places)
    assert corpus.splits == {"train": ["video0", "video1"], "val": ["video2"], "test": ["video2"]}
    assert corpus.captions["video2"] == ["another text"] and corpus.missing == ["video0", "video2"]
    write(tmp_path, val__csv="id,text\nvideo2,x\n")
    with pytest.raises(CorpusError, match="no column video_id or sentence; its columns are id, text"):
        open_corpus(args, **places)


def test_real_lists_load(shared_data, tmp_path):
    lists = shared_data / "annotations"
    corpus = read_activitynet(tmp_path, lists / "activitynet")
    assert {name: len(ids) for name, ids in corpus.splits.items()} == {"train": 10009, "val": 4917, "test": 4917}
    assert "15 ids" in corpus.notes[0] and "9 ids" in corpus.notes[1]
    assert all(len(texts) == 1 and texts[0] == texts[0].strip() for texts in corpus.captions.values())
    pairs = read_pairs(lists / "lsmdc" / "LSMDC16_challenge_1000_publictect.csv")
    assert len(pairs) == 1000 and pairs[0][1] == "SOMEONE stands below, hands on her hips."
    for protocol, train, seen in (("9k", 9000, 1990), ("7k", 7010, 0)):
        corpus = read_msrvtt(tmp_path, lists / "msrvtt", protocol)
        assert (len(corpus.ids("train")), len(corpus.ids("test"))) == (train, 1000)
        assert any(f"MSRVTT_train.{protocol}.csv holds {seen} of the 2990 videos" in note for note in corpus.notes) == (
            seen > 0
        )
    corpus = read_msvd(tmp_path, lists / "msvd", "retrieval")
    assert [len(corpus.ids(split)) for split in ("train", "val", "test")] == [1200, 100, 670]
    assert len(corpus.missing) == 1970

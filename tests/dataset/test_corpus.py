import gzip
import json

import pytest

from dataset import READERS, CorpusError
from dataset.corpus import Corpus, find_videos

CAPTIONS = {"vid1": ["a b"], "vid2": ["c"], "vid3": ["d", "e"]}


def schema(videos, sentences):
    return {
        "videos": [{"video_id": name, "split": split} for name, split in videos],
        "sentences": [{"video_id": name, "caption": text} for name, text in sentences],
    }


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(content, ensure_ascii=False).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def touch(root, *names):
    for name in names:
        path = root / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_is_searched_in_depth_for_any_container(tmp_path):
    names = {"ein Hund-1": "x/ein Hund-1.MKV", "\u72ac": "\u72ac.webm", "a.b": "y/z/a.b.3gp", "-x": "-x.gif"}
    touch(tmp_path, *names.values(), "notes.txt", ".hidden.mp4", "sound.wav")
    corpus = READERS["folder"](tmp_path)
    assert {name: str(path.relative_to(tmp_path / "videos")) for name, path in corpus.videos.items()} == names
    assert corpus.name == tmp_path.name and corpus.captions == {} and corpus.ids("train") == []
    assert "no captions" in corpus.summary()[-1]


def test_accents_match_in_either_unicode_form_and_links_do_not_loop(tmp_path):
    touch(tmp_path, "cafe\u0301.mp4")
    (tmp_path / "videos" / "again").symlink_to(tmp_path / "videos", target_is_directory=True)
    write(tmp_path / "metadata/captions.json", schema([("caf\u00e9", "train")], [("caf\u00e9", "x")]))
    assert READERS["folder"](tmp_path).missing == []
    assert len(find_videos(tmp_path / "videos")) == 1


def test_two_files_with_one_stem_are_an_error_only_where_that_id_is_wanted(tmp_path):
    touch(tmp_path, "a/clip.mp4", "b/clip.mkv", "a/same.mp4", "b/same.mp4", "other.mp4")
    own_ids = {"clip.mp4", "clip.mkv", "a/same.mp4", "b/same.mp4", "other"}
    assert set(READERS["folder"](tmp_path).videos) == own_ids
    captions = write(tmp_path / "c.json", schema([("other", "test")], [("other", "x")]))
    corpus = READERS["folder"](tmp_path, captions)
    assert corpus.missing == [] and set(corpus.videos) == own_ids
    assert corpus.splits["test"] == ["other"] and "4 videos of the folder have no captions" in corpus.summary()[-1]
    write(captions, schema([("clip", "test")], [("clip", "x")]))
    with pytest.raises(CorpusError, match="Keep or rename all but one"):
        READERS["folder"](tmp_path, captions)


def test_absent_files_blank_captions_and_strangers_are_reported_not_fatal(tmp_path):
    touch(tmp_path, "here.mp4")
    write(
        tmp_path / "metadata/captions.json",
        schema(
            [("here", "train"), ("gone", "validate"), ("bare", "test")],
            [("gone", "x"), ("here", "  "), ("here", " y "), ("who", "z")],
        ),
    )
    corpus = READERS["folder"](tmp_path)
    assert corpus.missing == ["gone", "bare"]
    assert corpus.captions == {"here": [" y "], "gone": ["x"]}
    assert corpus.splits == {"train": ["here"], "val": ["gone"], "test": ["bare"]}
    text = "\n".join(corpus.summary())
    assert "2 of 3 video files are not under" in text
    for note in ("1 captions belong to videos", "who", "1 blank captions", "1 videos have no caption: bare"):
        assert note in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (schema([("a", "train"), ("a", "test")], []), "lists 1 videos more than once: a"),
        (schema([("a", "holdout")], []), "'a' is in the split 'holdout'; known are"),
        (schema([("a", "train")], [("b", "x")]), "no caption belongs to a listed video; captions name b"),
        ({"videos": [{"id": 3}]}, "lacks 'video_id'"),
        (["a"], "not in the MSR-VTT schema"),
    ],
)
def test_broken_annotations_are_refused_by_name(tmp_path, content, message):
    path = write(tmp_path / "captions.json", content)
    with pytest.raises(CorpusError, match=message):
        READERS["folder"](tmp_path, path)


def test_a_file_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "c.json.gz"
    path.write_bytes(b"\x1f\x8bnot really")
    with pytest.raises(CorpusError, match=r"c\.json\.gz is not a JSON file"):
        READERS["folder"](tmp_path, path)
    with pytest.raises(FileNotFoundError, match="No annotation file"):
        READERS["folder"](tmp_path, tmp_path / "none.json")


def test_a_folder_without_videos_says_where_they_should_be(tmp_path):
    with pytest.raises(FileNotFoundError, match="No video file below"):
        READERS["folder"](tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder; it should hold videos/"):
        READERS["folder"](tmp_path / "nowhere")


def test_msvd_clips_are_found_by_either_name(tmp_path):
    write(tmp_path / "metadata/captions.json.gz", CAPTIONS)
    write(tmp_path / "metadata/splits.json", {"train": ["vid1"], "val": ["vid2"], "test": ["vid3"]})
    write(tmp_path / "metadata/youtube_mapping.json", {"vid1": "-4w_5_15", "vid2": "x_1_2", "vid3": "y_1_2"})
    touch(tmp_path, "-4w_5_15.avi", "deep/vid2.mp4")
    corpus = READERS["msvd"](tmp_path)
    assert [path and path.name for path in corpus.videos.values()] == ["-4w_5_15.avi", "vid2.mp4", None]
    assert corpus.captions == CAPTIONS and corpus.splits["test"] == ["vid3"]


def test_msvd_splits_may_be_lists_of_file_names(tmp_path):
    write(tmp_path / "metadata/captions.json", CAPTIONS)
    write(tmp_path / "metadata/youtube_mapping.json", {"vid1": "q_5_15", "vid2": "x_1_2", "vid3": "y_1_2"})
    for split, name in (("train", "q_5_15"), ("val", "x_1_2"), ("test", "y_1_2")):
        (tmp_path / f"metadata/{split}_list.txt").write_text(name + "\r\n")
    assert READERS["msvd"](tmp_path).splits == {"train": ["vid1"], "val": ["vid2"], "test": ["vid3"]}


def test_msrvtt_release_files_and_retrieval_lists(tmp_path):
    meta = tmp_path / "metadata"
    write(
        meta / "train_val_videodatainfo.json",
        schema([("video0", "train"), ("video1", "validate")], [("video0", "x"), ("video1", "y")]),
    )
    write(meta / "test_videodatainfo.json", schema([("video2", "test")], [("video2", "z"), ("video2", "w")]))
    corpus = READERS["msrvtt"](tmp_path)
    assert corpus.splits == {"train": ["video0"], "val": ["video1"], "test": ["video2"]}
    with pytest.raises(FileNotFoundError, match=r"MSRVTT_train.9k.csv"):
        READERS["msrvtt"](tmp_path, protocol="9k")
    (meta / "MSRVTT_train.9k.csv").write_text("video_id\r\nvideo0\r\nvideo1\r\n")
    (meta / "MSRVTT_JSFUSION_test.csv").write_text("key,vid_key,video_id,sentence\r\nret0,msr2,video2,only this\r\n")
    retrieval = READERS["msrvtt"](tmp_path, protocol="9k")
    assert retrieval.splits == {"train": ["video0", "video1"], "val": ["video2"], "test": ["video2"]}
    assert retrieval.captions["video2"] == ["only this"]
    with pytest.raises(ValueError, match=r"Unknown protocol \(8k\)"):
        READERS["msrvtt"](tmp_path, protocol="8k")


def test_minimotion_says_how_it_is_drawn(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m dataset.mini_motion"):
        READERS["minimotion"](tmp_path)


def test_real_annotations_have_the_published_sizes(shared_data):
    annotations = shared_data / "annotations"
    msvd = READERS["msvd"](shared_data, annotations / "msvd/captions.json.gz")
    assert [len(msvd.ids(split)) for split in ("train", "val", "test")] == [1200, 100, 670]
    assert {name for name, path in msvd.videos.items() if path} == {"vid184", "vid1025", "vid1509"}
    msrvtt = READERS["msrvtt"](shared_data, annotations / "msrvtt/MSRVTT_data.json.gz")
    assert [len(msrvtt.ids(split)) for split in ("train", "val", "test")] == [6513, 497, 2990]
    assert sum(map(len, msrvtt.captions.values())) == 200000
    nine = READERS["msrvtt"](shared_data, annotations / "msrvtt/MSRVTT_data.json.gz", protocol="9k")
    assert len(nine.ids("train")) == 9000 and len(nine.references("test")) == 1000
    mini = READERS["folder"](shared_data, shared_data / "mini_msrvtt.json")
    assert mini.missing == [] and [len(mini.ids(s)) for s in ("train", "val", "test")] == [23, 4, 7]


def test_a_limit_takes_the_first_of_every_split(tmp_path):
    videos = dict.fromkeys("abcdef")
    corpus = Corpus("x", tmp_path, videos, {"b": ["t"], "c": ["u"]}, {"train": ["a", "b", "c"], "test": ["d", "e"]})
    limited = corpus.limited(2)
    assert limited.splits == {"train": ["a", "b"], "val": [], "test": ["d", "e"]}
    assert list(limited.videos) == ["a", "b", "d", "e"] and limited.captions == {"b": ["t"]}
    with pytest.raises(ValueError, match="must be 1 or more"):
        corpus.limited(0)
    with pytest.raises(ValueError, match=r"Unknown split \(dev\)"):
        corpus.ids("dev")
    with pytest.raises(CorpusError, match="split 'val' names 1 unknown videos: z"):
        Corpus("x", tmp_path, videos, {}, {"val": ["z"]})

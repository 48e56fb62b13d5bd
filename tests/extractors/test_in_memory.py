"""From video files to a trained captioner, and from one file to its caption without files in between."""

import json
import shutil

import numpy as np
import pytest
import torch
from akg_file import heads, write_akg
from launch import ROOT, launch
from tiny_networks import make_action_network, make_backbone

import main
from dataset.caption_features import CaptionFeatures
from extractors import extract
from extractors.caption_files import expand
from extractors.in_memory import FileCaptioner
from model.captioner import Captioner, CaptionerConfig
from pretrained.i3d_weights import load_i3d
from utility.feature_store import FeatureStore
from utility.video_writer import write_video

CLIPS = 12
COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 220)}


def clip(number):
    color = list(COLORS.values())[number % 3]
    frames = np.full((20, 48, 64, 3), 90, np.uint8)
    for t in range(20):
        frames[t, 10:34, 2 * t : 2 * t + 20] = color
    return frames


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A corpus with features and a captioner trained on them, through the programs."""
    root = tmp_path_factory.mktemp("films")
    videos, sentences = [], []
    for i in range(CLIPS):
        name = f"a ball {i}"
        (root / "videos").mkdir(exist_ok=True)
        write_video(root / f"videos/{name}.mp4", clip(i), 10)
        videos.append({"video_id": name, "split": "train" if i < 9 else "val" if i < 10 else "test"})
        sentences.append({"video_id": name, "caption": f"a {list(COLORS)[i % 3]} thing moves"})
    (root / "metadata").mkdir()
    (root / "metadata/captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    places = ["--backbone", str(make_backbone(root / "clip", 0))]
    places += ["--action_network", str(make_action_network(root / "i3d"))]
    data = ["--data_root", str(root), "--device", "cpu"]
    sampling = ["--slots", "4", "--rate", "2", "--patch", "2", "--decode_workers", "0"]
    assert extract.main([*data, *places, *sampling]) == 0
    words = ["--model_name", "films_GBased+videomask", "--do_train", *data, "--epochs", "12", "--lr", "3e-3"]
    words += [
        "--batch_size",
        "9",
        "--captions_per_video",
        "1",
        "--output_dir",
        str(root / "run"),
        "--tokenizer",
        "nltk",
    ]
    with pytest.MonkeyPatch.context() as patch:
        from utility import caption_tokens

        patch.setenv("PATH", "")
        caption_tokens.java_problem.cache_clear()
        assert main.main(words) == 0
        caption_tokens.java_problem.cache_clear()
    return root


def test_a_file_gets_the_graph_and_the_caption_of_its_features(trained):
    captioner = FileCaptioner(trained / "run/best", device="cpu")
    said = json.loads((trained / "run/test_predictions.json").read_text())
    (store_path,) = trained.glob("features/*/*_GBased_graph.hdf5")
    store = FeatureStore(store_path)
    for name, caption in said.items():
        path = trained / f"videos/{name}.mp4"
        graph, stored = captioner.arrays(path), store[name]
        assert graph.keys() == stored.keys()
        for key, value in stored.items():
            np.testing.assert_allclose(graph[key].astype(float), value.astype(float), atol=2e-3, err_msg=key)
        assert captioner.caption(path).caption == caption


def test_the_checkpoint_knows_where_its_networks_are(trained, tmp_path, monkeypatch):
    """By the features' notes, without a flag; inside the repository relative to it, so that both can move."""
    config = json.loads((trained / "run/best/config.json").read_text())
    assert config["weights"] == {"backbone": str(trained / "clip"), "action_network": str(trained / "i3d")}
    monkeypatch.setattr("utility.places.portable.__defaults__", (trained,))
    monkeypatch.setattr("utility.places.located.__defaults__", (tmp_path / "copy",))
    (store,) = trained.glob("features/*/*_GBased_graph.hdf5")
    moved = CaptionFeatures(store.parent, trained.name, "GBased").weights(
        backbone=str(trained / "clip"), action_network=str(trained / "i3d")
    )
    assert moved == {"backbone": "clip", "action_network": "i3d"}
    shutil.copytree(trained, tmp_path / "copy")
    config["weights"] = moved
    (tmp_path / "copy/run/best/config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    assert FileCaptioner("copy/run/best", device="cpu").caption("copy/videos/a ball 0.mp4").caption is not None


def test_scores_name_the_test_videos_that_the_backbone_has_seen(trained):
    scores = json.loads((trained / "run/test_scores.json").read_text())
    for name in ("backbone", "action network"):
        assert f"the {name} was trained on 1 of the 2 test videos: scores on them flatter" in scores["notes"]


def test_the_program_captions_files_and_folders_and_survives_broken_ones(trained, tmp_path, capsys):
    broken = tmp_path / "broken \u72ac.mp4"
    broken.write_bytes(b"no video")
    words = ["--caption", str(broken), str(tmp_path / "absent.mp4"), str(trained / "videos"), "--device", "cpu"]
    words += ["--checkpoint", str(trained / "run/best"), "--beam", "2"]
    assert main.main([*words, "--json", "--output_dir", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert printed == json.loads((tmp_path / "out/captions.json").read_text())
    captions = printed["captions"]
    assert len(captions) == CLIPS + 2
    assert [entry["stage"] for entry in captions[:2]] == ["open", "open"]
    assert all(entry["caption"] is None and entry["cause"] for entry in captions[:2])
    assert all(isinstance(entry["caption"], str) for entry in captions[2:])
    assert "broken \u72ac.mp4: open: " in err
    assert main.main([*words, "--compat", "positions"]) == 2  # reaches the network, and is refused before any video
    assert "add compat item 'beam'" in capsys.readouterr().err
    assert main.main(words[:3] + words[4:]) == 1  # nothing but the two bad files
    assert capsys.readouterr().out == ""


def test_the_n_best_captions_of_a_file_come_with_their_scores(trained, capsys):
    words = ["--caption", str(trained / "videos/a ball 0.mp4"), "--checkpoint", str(trained / "run"), "--device", "cpu"]
    assert main.main([*words, "--beam", "3"]) == 0
    _, caption = capsys.readouterr().out.rstrip("\n").split("\t")
    assert main.main([*words, "--beam", "3", "--n_best", "2", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["captions"]
    assert entry["caption"] == entry["n_best"][0]["caption"] == caption and len(entry["n_best"]) == 2
    assert entry["n_best"][0]["score"] > entry["n_best"][1]["score"]
    assert main.main([*words, "--beam", "3", "--n_best", "2"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[1:] for line in lines] == [[r["caption"], f"{r['score']:.4f}"] for r in entry["n_best"]]


def test_a_file_that_is_too_much_for_the_device_is_told(trained, capsys, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("graphs.captions.search_both", full)
    path = trained / "videos/a ball 0.mp4"
    assert main.main(["--caption", str(path), "--checkpoint", str(trained / "run"), "--device", "cpu"]) == 2
    message = capsys.readouterr().err
    assert f"with the single file {path} (CUDA out of memory" in message and "a smaller --beam" in message


def test_two_processes_caption_files_as_one(trained, tmp_path, capsys):
    files = [trained / f"videos/a ball {i}.mp4" for i in (1, 0, 2)] + [tmp_path / "absent.mp4"]
    words = ["--caption", *map(str, files), "--checkpoint", str(trained / "run"), "--device", "cpu", "--beam", "2"]
    printed = launch(ROOT / "main.py", *words, "--json", processes=2)
    assert main.main([*words, "--json"]) == 0
    one, two = json.loads(capsys.readouterr().out)["captions"], json.loads(printed[0])["captions"]
    for entry in (*one, *two):
        entry.pop("seconds", None)
    assert one == two and [entry["file"] for entry in two] == list(map(str, files))
    assert printed[1] == ""


def test_a_published_checkpoint_captions_a_file_with_the_networks_of_the_flags(trained, tmp_path, capsys):
    torch.manual_seed(1)
    words = ["<PAD>", "<S>", "a", "red", "thing"]
    actions = load_i3d(trained / "i3d").model.feature_dim
    config = CaptionerConfig.small(32, actions, len(words), slots=6, nodes_per_slot=9, node_positions=False)
    model = Captioner(config)
    model.generator.linear.bias.data[1] = 1.0
    path = write_akg(tmp_path / "9.ckpt", model, words, heads(config))
    flags = ["--caption", str(trained / "videos/a ball 0.mp4"), "--checkpoint", str(path), "--device", "cpu"]
    assert main.main(flags) == 2
    assert "does not say which backbone" in capsys.readouterr().err
    places = ["--backbone", str(trained / "clip"), "--action_network", str(trained / "i3d")]
    assert main.main([*flags, *places]) == 0
    file, caption = capsys.readouterr().out.rstrip("\n").split("\t")
    assert file.endswith("a ball 0.mp4") and set(caption.split()) <= set(words)
    captioner = FileCaptioner(path, {"backbone": str(trained / "clip"), "action_network": str(trained / "i3d")}, "cpu")
    assert captioner.sampling.rule == "reference" and captioner.arrays(file)["nodes"].shape == (6, 9, 32)
    assert captioner.caption(file).caption == caption


def test_another_network_is_refused_by_name(trained, tmp_path, capsys):
    other = make_backbone(tmp_path / "other", 1)
    words = ["--caption", "a.mp4", "--checkpoint", str(trained / "run/best"), "--device", "cpu"]
    assert main.main([*words, "--backbone", str(other)]) == 2
    message = capsys.readouterr().err
    assert "trained with the backbone tiny0" in message and "this is tiny1" in message and "--backbone PATH" in message


@pytest.mark.parametrize("imported", ["nodes", "objects"])
def test_features_of_published_files_cannot_be_made_from_a_file(trained, tmp_path, capsys, imported):
    shutil.copytree(trained / "run/best", tmp_path / "best")
    config = json.loads((tmp_path / "best/config.json").read_text())
    source = {"imported": ["films_GBased_train.pickle"], "slots": 4}
    if imported == "nodes":
        config["features"]["settings"] |= {"nodes": source, "actions": source}
    else:
        config["features"]["others"] = {"objects": source}
    (tmp_path / "best/config.json").write_text(json.dumps(config))
    assert main.main(["--caption", "a.mp4", "--checkpoint", str(tmp_path / "best"), "--device", "cpu"]) == 2
    assert "trained on imported features, which cannot be made from a single file" in capsys.readouterr().err


def test_a_network_that_is_gone_is_asked_for_by_flag(trained, tmp_path, capsys):
    shutil.copytree(trained / "run/best", tmp_path / "best")
    config = json.loads((tmp_path / "best/config.json").read_text())
    config["weights"] = {"backbone": str(tmp_path / "moved")}
    (tmp_path / "best/config.json").write_text(json.dumps(config))
    words = ["--caption", "a.mp4", "--checkpoint", str(tmp_path / "best"), "--device", "cpu"]
    assert main.main(words) == 2
    message = capsys.readouterr().err
    assert "moved" in message and "needs the backbone tiny0" in message and "--backbone PATH" in message


def test_awkward_real_clips_get_a_caption_or_a_cause(trained, shared_data):
    captioner = FileCaptioner(trained / "run/best", device="cpu", beam=1)
    results = {path.name: captioner.caption(path) for path in expand([str(shared_data / "videos/edge")])}
    assert {name: result.stage for name, result in results.items() if result.caption is None} == {
        "audio_only.mp4": "stream",
        "corrupt_midway.mp4": "decode",
        "empty.mp4": "open",
        "truncated.mp4": "open",
        "undecodable.mp4": "decode",
        "unopenable.mp4": "open",
    }
    assert len(results) == 15


def test_a_folder_stands_for_the_videos_below_it(trained, tmp_path):
    (tmp_path / "x").mkdir()
    for name in ("b.mp4", "x/a.mkv", "x/note.txt"):
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in expand([str(tmp_path), str(tmp_path / "gone.mp4")])]
    assert found == ["b.mp4", "x/a.mkv", "gone.mp4"]

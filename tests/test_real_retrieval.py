"""Retrieval on real clips: trained by the lists beside them, and a folder of awkward ones searched."""

import json

from retrieval_samples import STEADY, TOWER, train

READABLE = {
    "counter_10frames", "curves", "dark_no_duration", "keyboard_rot0", "keyboard_rot90", "room_rot180", "testcard_av1",
    "truncated.mkv", "white_4frames",
}  # fmt: skip


def test_real_clips_train_and_awkward_ones_are_found_or_named(shared_data, tmp_path, capsys):
    lists, videos = tmp_path / "lists.json", shared_data / "videos"
    content = json.loads((shared_data / "mini_msrvtt.json").read_text(encoding="utf-8"))
    sizes = {file.stem: file.stat().st_size for file in videos.iterdir()}
    content["videos"].sort(key=lambda video: sizes[video["video_id"]])  # the shortest, which `--limit` leaves
    lists.write_text(json.dumps(content), encoding="utf-8")
    argv = ["--datatype", "msrvtt", "--data_path", lists, "--features_path", videos, "--output_dir", tmp_path / "run"]
    results, log = train(capsys, [*argv, *TOWER, *STEADY, "--batch_size", "2", "--limit", "2"])
    assert (results["corpus"], results["videos"]) == ("MSR-VTT", 2) and results["texts"] > 4
    assert "6 videos (train 2, val 2, test 2)" in log
    argv = ["--search", "a keyboard", "--checkpoint", tmp_path / "run", "--videos", videos / "edge", "--top", "20"]
    argv += ["--index", tmp_path / "index", "--sheet", tmp_path / "sheet.png", "--device", "cpu"]
    found, log = train(capsys, argv)
    assert {one["video"] for one in found["best"]} == READABLE and (tmp_path / "sheet.png").is_file()
    assert "6 videos cannot be read and are left out: audio_only: stream: no video stream" in log

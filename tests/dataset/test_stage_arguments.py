"""Flags shared by the stages, and what starting anew removes."""

import pytest

from dataset.stage_arguments import StageArguments, describe_settings, start_anew
from utility.arguments import parse


def test_node_features_by_word():
    assert StageArguments().node_feature == "GBased"
    assert StageArguments(nodes="object").node_feature == "OBased"
    with pytest.raises(ValueError, match="it must be grid or object"):
        StageArguments(nodes="GBased")


def test_resume_takes_a_number():
    for words, expected in (([], True), (["--resume", "0"], False), (["--resume", "1"], True), (["--resume"], True)):
        assert parse(StageArguments, words)[0].resume is expected


def test_start_anew_removes_one_feature_only(tmp_path):
    mine = ["c_GBased.hdf5", "c_GBased.manifest.jsonl", "c_GBased.hdf5.rank0.part", "c_GBased.hdf5.rank1.part"]
    mine.append("c_GBased.manifest.rank1.jsonl")
    others = ["c_GBased_graph.hdf5", "c_actions.hdf5.rank0.part", "c_GBased_graph.manifest.jsonl"]
    for name in mine + others:
        (tmp_path / name).touch()
    start_anew(tmp_path / "c_GBased.hdf5")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    start_anew(tmp_path / "c_GBased.hdf5")


def test_settings_in_one_line():
    line = describe_settings({"rate": 1.0, "backbone": {"name": "b"}})
    assert line.startswith("settings ") and line.endswith(": rate 1.0")

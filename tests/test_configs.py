"""Every file of configs/ runs as it is: known flags, a published row, features and sizes that exist."""

import pytest
import yaml
from launch import ROOT

from dataset.arguments import DataArguments
from dataset.caption_settings import CaptionerArguments, parse_model_name
from utility.arguments import parse

FILES = sorted((ROOT / "configs").glob("*.yaml"))
PUBLISHED = {  # README of V2T-Action-Graph: BLEU-4, METEOR, ROUGE-L, CIDEr
    "msrvtt_vit_b32": [49.10, 31.57, 65.52, 61.27],
    "msrvtt_vit_b16": [51.02, 32.19, 66.55, 63.02],
    "msvd_vit_b32": [62.90, 41.81, 78.80, 119.07],
    "msvd_vit_b16": [64.07, 42.41, 79.72, 124.18],
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_config_is_understood_and_holds_its_row(file):
    args, data = parse(
        (CaptionerArguments, DataArguments), ["--config", str(file), "--do_train"], sections=["published"]
    )
    row = args.published_row()
    assert list(row.scores.values()) == PUBLISHED[file.stem.removeprefix("action_graph_")]
    corpus, _ = parse_model_name(args.model_name)
    assert row.protocol["corpus"] == corpus and data.features
    assert set(row.protocol) >= {"split", "references", "batch_size", "seed", "videos"}
    # The commands of its head lead to the features that it asks for.
    head = file.read_text(encoding="utf-8").split("model_name:")[0]
    assert f"--output_dir results/{data.features}" in head and f"--config configs/{file.name}" in head


def test_every_published_row_has_a_file():
    assert {file.stem.removeprefix("action_graph_") for file in FILES} == set(PUBLISHED)
    sizes = {"train": 6513, "val": 497, "test": 2990}
    assert yaml.safe_load(FILES[0].read_text())["published"]["protocol"]["videos"] == sizes

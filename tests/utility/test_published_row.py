import json

import pytest

from utility.published_row import PublishedRow, own_protocol

ROW = {
    "source": "a paper",
    "scores": {"BLEU_4": 49.1, "METEOR": 31.57, "CIDEr": 61.27},
    "protocol": {"corpus": "MSR-VTT", "split": "test", "references": "raw", "batch_size": 1024, "seed": None},
}
OWN = {"corpus": "MSR-VTT", "split": "test", "references": "raw", "batch_size": 1024, "seed": 5}


def test_numbers_stand_side_by_side():
    row = PublishedRow.read(json.dumps(ROW))
    lines = row.table({"BLEU_4": 0.4833, "METEOR": None, "CIDEr": 0.6127}, OWN).splitlines()
    assert lines[0] == "a paper"
    assert lines[2].split() == ["BLEU_4", "49.10", "48.33", "-0.77"]
    assert lines[3].split() == ["METEOR", "31.57", "missing"]
    assert lines[4].split() == ["CIDEr", "61.27", "61.27", "+0.00"]


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"split": "val"}, "split: published test, own val"),
        ({"references": "trimmed"}, "references: published raw, own trimmed"),
        ({"batch_size": 128}, "batch_size: published 1024, own 128"),
        ({"batch_size": None}, "batch_size: published 1024, own not known"),
        ({}, "seed: the publication does not say, own 5"),
        ({"missing_videos": {"train": 0, "test": 3}}, "test: 3 videos missing"),
        ({"beam": 5}, "beam: the publication does not say, own 5"),
        ({"corpus": "MSVD"}, "corpus: published MSR-VTT, own MSVD"),
    ],
)
def test_every_difference_is_said(own, line):
    differences = PublishedRow.read(json.dumps(ROW)).differences(OWN | own)
    assert line in differences
    assert len(differences) == 1 + (line.split(":")[0] != "seed")


def test_agreement_is_said_too():
    row = PublishedRow.read(json.dumps(ROW | {"protocol": {"split": "test"}}))
    assert row.table({}, {"split": "test"}).endswith("the protocols agree in all that the publication says")


def test_own_protocol_uses_the_published_words():
    scores = {
        "corpus": "MSVD",
        "split": "test",
        "references": "raw",
        "search": {"beam": 3},
        "model_name": "MSVD_GBased",
    }
    own = own_protocol(scores, {"arguments": {"batch_size": 64, "seed": 1}, "captioner": {"layers": 3}})
    assert (own["corpus"], own["beam"], own["batch_size"], own["seed"], own["lr"]) == ("MSVD", 3, 64, 1, None)
    assert own_protocol(scores, {"captioner": {"layers": 3}})["batch_size"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "is not JSON"),
        ("[1]", "must have source, scores, protocol; it has list"),
        (json.dumps({"source": ""}), "must have source, scores, protocol; it has source"),
        (json.dumps(ROW | {"scores": {"BLEU4": 1}}), "given are BLEU4"),
    ],
)
def test_other_forms_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        PublishedRow.read(text)

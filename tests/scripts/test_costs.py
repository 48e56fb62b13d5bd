"""The table of costs: hours are units times seconds over processes."""

import json

import pytest

from scripts import costs

UNITS = {
    **{f"picture {tower}": {"seconds": 0.1, "bytes": 2**30} for tower in costs.TOWERS},
    **{f"pair {tower}": {"seconds": 6.0, "bytes": 3 * 2**30, "weights": 6e8} for tower in costs.TOWERS},
    "window": {"seconds": 0.5, "bytes": 2**31},
    "clip": {"seconds": 1.0, "bytes": 2**28},
    "graph": {"seconds": 0.01, "bytes": 2**28},
    "caption": {"seconds": 0.5, "bytes": 2**32, "weights": 4e8},
    "search": {"seconds": 0.25, "bytes": 2**31},
}


def test_hours_by_hand():
    corpus = costs.Published(clips=100, slots=10, captions=1000, train=60, val=20, test=20, epochs=3)
    found = costs.stages(UNITS, corpus, 2)
    hours = {stage: row["hours"] * 3600 * 2 for stage, row in found.items()}
    # half a clip's decoding, ten windows, ten times ten pictures
    assert hours["features B/32"] == pytest.approx(100 * (0.5 + 10 * 0.5 + 100 * 0.1))
    assert hours["CLIP4Clip B/16, 5 epochs"] == pytest.approx(60 * 5 * 6.0)
    assert hours["captioner, 3 epochs"] == pytest.approx(3000 * 0.5) and hours["graphs"] == pytest.approx(1.0)
    assert hours["captions of the test split"] == pytest.approx(20 * 0.25)
    assert found["features B/32"]["bytes"] == 2**31, "the largest of the networks of a pass"
    whole = hours["CLIP4Clip B/32, 5 epochs"] + hours["features B/32"] + hours["graphs"] + hours["captioner, 3 epochs"]
    assert hours["all of it B/32"] == pytest.approx(whole + hours["captions of the test split"])
    assert found["all of it B/16"]["bytes"] == 2**32
    beside = costs.stages(UNITS, corpus, 2, decoders=4)
    assert beside["features B/32"]["hours"] * 7200 == pytest.approx(100 * (10 * 0.5 + 100 * 0.1)), "decoded beside it"
    assert beside["graphs"]["bytes"] == 0, "no work for a GPU"
    slow = {**UNITS, "clip": {"seconds": 400.0, "bytes": 2**40}}
    assert costs.stages(slow, corpus, 2, decoders=4)["features B/32"]["bytes"] == 2**31
    assert costs.stages(slow, corpus, 2, decoders=4)["features B/32"]["hours"] * 7200 == pytest.approx(100 * 200 / 4)
    alone = costs.stages(UNITS, corpus, 1)
    assert all(alone[stage]["hours"] == pytest.approx(2 * row["hours"]) for stage, row in found.items())


def test_the_table_has_both_corpora_memory_and_disk():
    found = {name: costs.stages(UNITS, corpus, 2) for name, corpus in costs.CORPORA.items()}
    lines = costs.table(found, UNITS, {"MSVD": 1e9, "MSR-VTT": 5.3e9}).splitlines()
    assert lines[0] == "| stage | MSVD, hours | MSR-VTT, hours | memory of a process, GiB |"
    assert "memory of a GPU" in costs.table(found, UNITS, {"MSVD": 1e9}, "of a GPU").splitlines()[0]
    assert "| captioner, 30 / 25 epochs | 102 | 226 | 4.0 |" in lines
    assert "features and graphs MSVD 1.0 GB, MSR-VTT 5.3 GB" in lines[-1] and "captioner 1.6 GB" in lines[-1]


def test_wrong_numbers_are_answered(capsys):
    with pytest.raises(SystemExit):
        costs.main(["--processes", "0"])
    assert "--processes 0; it must be 1 or more" in capsys.readouterr().err
    assert costs.main(["--device", "tpu"]) == 2
    assert "unknown device 'tpu'" in capsys.readouterr().err


@pytest.mark.slow
def test_every_unit_is_measured_at_tiny_sizes(tmp_path, capsys):
    assert costs.main(["--quick", "--output", str(tmp_path / "costs.json")]) == 0
    result = json.loads((tmp_path / "costs.json").read_text())
    assert set(result["units"]) == set(UNITS) and all(unit["seconds"] > 0 for unit in result["units"].values())
    assert capsys.readouterr().out.startswith("| stage |")

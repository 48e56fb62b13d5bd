"""What settings of a recogniser cost: the tables, and that every row runs."""

import json

import pytest

from model.recognition import METHODS
from scripts import recognition_costs


def row(seconds, gib=1.0, learnt=10_241):
    return {"seconds": seconds, "bytes": gib * 2**30, "learnt": learnt}


def test_rows_are_compared_with_the_plain_step():
    steps = {"Dual-CoOp": row(4.0), "--num_temporal_views 4": row(14.0, 3.25), "STT": row(6.0, 1.5, 66_932_737)}
    lines = recognition_costs.table(steps, {"decoded": 0.25, "bytes": 3 * 2**20})
    assert "| Dual-CoOp | 4 | 1.00 | 1.00 | 10,241 |" in lines
    assert "| --num_temporal_views 4 | 14 | 3.50 | 3.25 | 10,241 |" in lines
    assert "| STT | 6 | 1.50 | 1.50 | 66,932,737 |" in lines
    assert "| decoded | 250 |" in lines and lines[-1] == "A stored clip takes 3.0 MiB."


def test_rows_name_every_method_and_settings_that_it_reads():
    steps = recognition_costs.STEPS
    assert {step.method for step in steps.values()} == set(METHODS)
    for name, step in steps.items():
        assert set(step.settings) <= set(METHODS[step.method].keys), name
    assert list(steps.values()).count(recognition_costs.PLAIN) == 1, "every other row changes something"


def test_wrong_arguments_are_answered(capsys):
    for words, message in ((["--tower", "L/14"], "known: B/16, B/32"), (["--repeats", "0"], "must be 1 or more")):
        with pytest.raises(SystemExit):
            recognition_costs.main(words)
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_every_row_is_measured_at_tiny_sizes(tmp_path, capsys):
    output = tmp_path / "deep" / "costs.json"
    assert recognition_costs.main(["--quick", "--repeats", "1", "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert set(found["steps"]) == set(recognition_costs.STEPS)
    assert found["steps"]["STT"]["learnt"] > found["steps"]["Dual-CoOp"]["learnt"]
    assert capsys.readouterr().out.startswith("| a training step |")

"""What settings of a recogniser cost: the tables, and that every row runs."""

import json

import pytest
import torch

from model.backbone.clip import CLIP, CLIPConfig
from model.recognition import METHODS, ClassTexts, build
from model.recognition.cost import cost
from scripts import recognition_costs


def row(seconds, gib=1.0, learnt=10_241):
    return {"seconds": seconds, "bytes": gib * 2**30, "multiply_adds": seconds * 1e11, "learnt": learnt}


def test_rows_are_compared_with_the_plain_step():
    steps = {"Dual-CoOp": row(4.0), "--num_temporal_views 4": row(14.0, 3.25), "STT": row(6.0, 1.5, 66_932_737)}
    lines = recognition_costs.table(steps, {"decoded": 0.25, "bytes": 3 * 2**20})
    assert "| Dual-CoOp | 400 | 4 | 1.00 | 1.00 | 10,241 |" in lines
    assert "| --num_temporal_views 4 | 1400 | 14 | 3.50 | 3.25 | 10,241 |" in lines
    assert "| STT | 600 | 6 | 1.50 | 1.50 | 66,932,737 |" in lines
    assert "| decoded | 250 |" in lines and lines[-1] == "A stored clip takes 3.0 MiB."


def test_rows_name_every_method_and_settings_that_it_reads():
    steps = recognition_costs.STEPS
    assert {step.method for step in steps.values()} == set(METHODS)
    for name, step in steps.items():
        assert set(step.settings) <= set(METHODS[step.method].keys), name
    assert list(steps.values()).count(recognition_costs.PLAIN) == 1, "every other row changes something"


def test_both_passes_are_counted_and_what_is_computed_again():
    config = CLIPConfig(16, 32, 8, 64, 3, 1, 64, 2, 1, vocab_size=60)
    pixels, ids = torch.zeros(1, 1, 2, 3, 32, 32), torch.tensor([[1, 59]])

    def count(method, pixels=pixels, **settings):
        model = build(method, CLIP(config), settings)
        return recognition_costs.multiply_adds(model, pixels, ClassTexts(ids))

    forward = cost(build("dual_coop", CLIP(config)), 1, 2, 1, 2).multiply_adds
    plain, again = count("dual_coop"), count("dual_coop", use_checkpointing=True)
    assert 1.5 * forward < plain < 2.5 * forward, "no gradients of weights"
    assert 0.5 * forward < again - plain < forward, "blocks, without the patch layer"
    # Nothing learns in Video-CoOp's vision tower, so that there is no way back through it.
    assert count("video_coop") < plain - 0.5 * forward
    assert count("video_coop", torch.zeros(1, 1, 2, 16)) < 0.4 * count("video_coop")


def test_wrong_arguments_are_answered(capsys):
    for words, message in ((["--tower", "L/14"], "known: B/16, B/32"), (["--repeats", "0"], "must be 1 or more")):
        with pytest.raises(SystemExit):
            recognition_costs.main(words)
        assert message in capsys.readouterr().err


def measured(name):
    found = recognition_costs.measure(recognition_costs.STEPS[name], "B/16", 1, quick=True)
    return found["seconds"] > 0 and found["multiply_adds"] > 0 and found["learnt"] > 0


def test_a_row_is_measured():
    assert measured("Video-CoOp, clip seen before")


@pytest.mark.slow
def test_every_row_can_be_measured():
    assert [name for name in recognition_costs.STEPS if not measured(name)] == []


@pytest.mark.slow
def test_chosen_rows_in_processes_of_their_own(tmp_path, capsys):
    output = tmp_path / "deep" / "costs.json"
    words = ["--quick", "--repeats", "1", "--rows", "STT", "bf16", "--output", str(output)]
    assert recognition_costs.main(words) == 0
    found = json.loads(output.read_text())
    assert list(found["steps"]) == ["Dual-CoOp", "STT", "--precision bf16"]
    assert found["steps"]["STT"]["learnt"] > found["steps"]["Dual-CoOp"]["learnt"]
    assert capsys.readouterr().out.startswith("| a training step |")

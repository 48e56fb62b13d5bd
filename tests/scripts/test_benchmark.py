"""The benchmark: every row runs, and what it times as published is what was published."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from launch import ENVIRONMENT, ROOT

from model.captioner import reference_search_both
from scripts import benchmark
from scripts.benchmarks import inputs, network_rows, proof, published, rate_rows, retrieval_proof
from scripts.benchmarks.timing import Measured, Row, compare

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(result, table) of a run at tiny sizes."""
    output = tmp_path_factory.mktemp("results") / "deep" / "benchmark.json"
    words = ["-m", "scripts.benchmark", "--quick", "--repeats", "2", "--output", str(output)]
    run = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    return json.loads(output.read_text(encoding="utf-8")), run.stderr


def test_every_row_has_both_sides_and_its_spread(quick):
    result, table = quick
    rows = [name for row in result["rows"] for name in benchmark.ROWS if row["row"].startswith(name)]
    assert list(dict.fromkeys(rows)) == list(benchmark.ROWS)
    for row in result["rows"]:
        assert row["published"] > 0 and row["ours"] > 0
        assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"]
        assert row["what"] in table
        assert row["met"] is None, "tiny sizes meet or miss nothing"
    assert result["machine"]["torch"] == torch.__version__ and result["arguments"]["repeats"] == 2


def test_fixtures_are_reproduced_before_anything_is_timed(quick):
    fixtures = quick[0]["reproduced_fixtures"]
    assert fixtures["graph_network"] == ["transc"] and len(fixtures["training"]) >= 5
    assert {"decode_grid", "decode_grid-rel"} <= set(fixtures["search"])
    assert fixtures["extraction"] == ["grid_crops", "frame_sampling"]
    assert fixtures["clip_towers"] == ["towers_2d", "towers_3d"] and fixtures["stop_sums"] == ["stop_linear"]
    assert fixtures["paired_evaluation"] == ["sim_seqTransf_2d", "sim_seqTransf_3d"]


@pytest.mark.parametrize("row", ["search", "convolution"])
def test_a_side_that_was_not_published_is_not_timed(monkeypatch, capsys, tmp_path, row):
    def twice(function, *args):
        return 2 * function(*args)

    monkeypatch.setenv("PYTHONWARNINGS", "ignore::FutureWarning")  # main sets it; restored after the test
    if row == "search":
        monkeypatch.setattr(published, "attend", partial(twice, published.attend))
    else:
        forward = published.TransformerConv.forward
        monkeypatch.setattr(published.TransformerConv, "forward", lambda *args: twice(forward, *args))
    output = tmp_path / "benchmark.json"
    assert benchmark.main(["--quick", "--rows", row, "--output", str(output)]) == 1
    assert "does not reproduce" in capsys.readouterr().err and not output.exists()


@torch.inference_mode()
def test_the_published_search_is_the_reference_search_of_the_model():
    model = inputs.captioner(inputs.QUICK, CPU).eval()
    batch = inputs.graphs(inputs.QUICK, 2)
    want = reference_search_both(model, batch, 3, 5, n_best=3)
    memories = model.encode(batch)
    for v in range(2):
        rows = (memories.r2l[v : v + 1], memories.l2r[v : v + 1], memories.r2l_mask[v])
        found = published.PublishedCaptioner(model).search(*rows, beam=3, max_words=5)
        for side, known in zip(found, (want.l2r[v], want.r2l[v]), strict=True):
            assert [tuple(words) for words in side.words] == [item.words for item in known]
            assert side.scores == pytest.approx([item.score for item in known], abs=1e-4)


def test_a_graph_survives_the_published_form():
    batch = inputs.graphs(inputs.QUICK, 1)
    index, attributes = proof.expand_edges(batch["actions"], batch["temporal"], batch["node_mask"])
    graph = published.StoredGraph.pack(batch["nodes"].flatten(0, 2), index, attributes, batch["slot_mask"][0])
    assert torch.equal(graph.edge_attributes(), attributes) and len(graph.data) < attributes.numel()


def test_sides_that_find_other_captions_are_no_comparison():
    states = torch.empty(0)
    found = [(published.Beam([[4, 5, 6]], [0.0], states), published.Beam([[7, 8]], [0.0], states))]
    own = network_rows.SearchResult([[network_rows.Hypothesis((4, 5), 0, 0)]], [[network_rows.Hypothesis((7,), 0, 0)]])
    assert network_rows.same_words(found, own) == 1
    other = network_rows.SearchResult(own.r2l, own.l2r)
    with pytest.raises(RuntimeError, match="0%"):
        network_rows.same_words(found, other)


def test_a_row_is_the_median_of_ratios_of_one_repetition_each():
    sides = [Measured(value, value) for value in (8.0, 30.0, 12.0)], [Measured(value, 1.0) for value in (2.0, 3.0, 6.0)]
    row = Row("name", "what", *sides, least=5.0, limit=2.0).summary()
    assert (row["ratio_min"], row["ratio"], row["ratio_max"], row["ours"]) == (2, 4, 10, 3)
    assert row["met"] is False and row["ratio_processor"] == 12
    assert Row("name", "what", *sides, least=4.0).summary()["met"] is True
    assert "MISSED" in benchmark.table_line(row) and "2 - 10" in benchmark.table_line(row)


def test_both_sides_are_called_in_turn_and_a_part_is_scaled():
    order = []
    slow, fast = compare(lambda: order.append("a"), lambda: order.append("b"), 2, CPU, factor=1e9, warm=False)
    assert order == ["a", "b", "a", "b"] and len(slow) == len(fast) == 2
    assert min(m.value for m in slow) > 10 > max(m.value for m in fast)


def test_unknown_rows_are_named(capsys):
    with pytest.raises(SystemExit) as error:
        benchmark.main(["--rows", "serch"])
    assert error.value.code == 2 and "serch; known are: convolution, search" in capsys.readouterr().err
    assert benchmark.main(["--quick", "--device", "tpu"]) == 2
    assert "unknown device 'tpu'" in capsys.readouterr().err


def test_rates_are_measured_by_name_and_by_default_on_a_gpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::FutureWarning")
    for proofs in (proof, retrieval_proof):  # run by the fixture `quick`
        monkeypatch.setattr(proofs, "PROOFS", dict.fromkeys(proofs.PROOFS, lambda small: []))
    output = tmp_path / "rates.json"
    words = ["--quick", "--repeats", "1", "--output", str(output), "--rows", *benchmark.RATE_ROWS]
    assert benchmark.main(words) == 0
    rows = {row["row"]: row for row in json.loads(output.read_text())["rows"]}
    assert list(rows) == ["pictures_tower", "files", "windows", "steps_1"]
    for row in rows.values():
        for side in ("published", "ours"):
            assert row[f"{side}_per_second"] > 0 and f"{row['ours_per_second']:.4g}" in row["detail"]
    pictures = rows["pictures_tower"]
    assert pictures["ours_per_second"] == pytest.approx(inputs.QUICK.pictures / pictures["ours"])
    asked = []
    monkeypatch.setattr("utility.distributed.choose_device", lambda name: torch.device("meta"))
    for name in ("graph_convolution", "search", "graph_to_captions", "training"):
        monkeypatch.setattr(network_rows, name, lambda setting: asked.append(setting.warm) or iter(()))
    assert benchmark.main(["--quick", "--output", str(output), "--rows", "convolution", "search", "training"]) == 0
    assert asked == [True] * 3, "on other devices than a CPU calls are made before they count"


def test_rates_of_sides_that_differ_are_no_comparison():
    rows = torch.ones(2, 3)
    rate_rows.same("rows", rows, rows * 1.01)
    with pytest.raises(RuntimeError, match="the rows of both sides differ by"):
        rate_rows.same("the rows", rows, rows * 1.1)

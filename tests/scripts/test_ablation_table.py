"""The ablation's arithmetic: paired differences with their intervals, what is said of them, the table."""

import numpy as np
import pytest

from scripts.ablation_rows import ROWS
from scripts.ablation_table import SCORES, Difference, by_seed, difference, table

PLACES = ("place_accuracy", "places_in_rows")


def run(row, seed, cider, **others):
    scores = dict.fromkeys(set(SCORES) - set(PLACES), 0.5)
    scores |= {"CIDEr": cider, "one_object_videos": 18, "two_object_videos": 9}
    settings = {"epochs": 3, "limit": None, "batch_size": 40, "features": {}}
    return {"row": row, "seed": seed, "scores": scores | others, "seconds": 10 * seed, "settings": settings}


def test_differences_are_paired_by_seed():
    first, second = {0: 1.0, 1: 2.0, 2: 3.0, 7: 0.0}, {2: 3.2, 1: 2.3, 0: 1.1}
    found = difference(first, second)
    values = np.array([0.1, 0.3, 0.2])
    assert found.mean == pytest.approx(0.2)
    assert found.half_width == pytest.approx(4.303 * values.std(ddof=1) / np.sqrt(3), rel=1e-3)
    assert not found.shown and str(found) == "+0.200 ± 0.248"
    assert difference({0: 1.0}, {1: 1.0}) is None
    assert str(difference({0: 1.0}, {0: 1.25})) == "+0.250" and not difference({0: 1.0}, {0: 2.0}).shown
    many = difference(dict.fromkeys(range(12), 0.0), {k: float(k % 2) for k in range(12)})
    assert many.half_width == pytest.approx(1.96 * 0.5222 / np.sqrt(12), rel=1e-3)


@pytest.mark.parametrize(("mean", "half", "shown"), [(0.3, 0.2, True), (-0.3, 0.2, True), (0.1, 0.2, False)])
def test_a_difference_is_shown_where_its_interval_leaves_out_zero(mean, half, shown):
    assert Difference(mean, half).shown == shown


def test_what_does_not_help_and_is_not_missed_stands_on_top():
    runs = [run("GBased", seed, 2 + 0.1 * seed) for seed in range(3)]
    runs += [run("GBased+rel-1", seed, 2 + 0.1 * seed + noise) for seed, noise in enumerate((0.01, -0.02, 0.02))]
    runs += [run("blind", seed, 0.2 + 0.1 * seed + 0.01 * (seed == 1), action_accuracy=0.1) for seed in range(3)]
    runs += [run("edges-shuffled", seed, 2.5 + 0.1 * seed + 0.01 * (seed == 1)) for seed in range(3)]
    lines = table(runs)
    assert lines[:2] == ["What does not help, or is not missed:", ""]
    assert lines[2].startswith("- `GBased+rel`, `--attention 1` against `GBased`: no difference shown, CIDEr +0.003 ±")
    assert lines[3].startswith("- edges shuffled against `GBased`: is better without, CIDEr +0.503 ±")
    worked = lines.index("What makes a difference:")
    assert "blind: the graph of another clip against `GBased`: is missed, CIDEr -1.797 ± 0.014" in lines[worked + 2]
    assert lines[worked + 2].endswith("; also action -0.400 ± 0.000")
    head = next(number for number, line in enumerate(lines) if line.startswith("| graphs"))
    assert lines[head + 2] == "| `GBased` | 2.10 ± 0.10 |" + " 0.50 ± 0.00 |" * 6
    assert lines[head + 4].startswith("| blind")  # in the order of the rows, whatever that of the runs
    assert (
        "seeds 0, 1, 2" in lines[-1]
        and "all training clips in batches of 40 captions" in lines[-1]
        and "18 test clips" in lines[-1]
    )


def test_a_row_alone_is_shown_without_a_comparison():
    lines = table([run("blind", 4, 0.25)])
    assert lines[0].startswith("| graphs") and "| blind: the graph of another clip | 0.25 | 0.50 |" in lines[2]
    assert by_seed([run("blind", 4, 0.25)], "blind", "CIDEr") == {4: 0.25}


def test_every_row_is_compared_with_rows_that_exist():
    assert all(base in ROWS for row in ROWS.values() for base in row.against)
    assert [row.name for row in ROWS.values() if not row.against] == ["GBased"]


def test_places_have_columns_where_the_corpus_has_places_and_cells_where_rows_tell_them():
    assert not any("place" in line for line in table([run("OBased", 0, 1.0)]))
    runs = [run("OBased", seed, 1.0, place_accuracy=0.1 + 0.01 * seed) for seed in range(3)]
    runs += [run("OBased+rel", seed, 1.5, place_accuracy=0.9, places_in_rows=0.75) for seed in range(3)]
    lines = table(runs)
    assert lines[2].startswith("- `OBased+rel` against `OBased`: helps") and lines[2].endswith(
        "; also place +0.790 ± 0.025"
    )
    head = next(number for number, line in enumerate(lines) if line.startswith("| graphs"))
    assert lines[head].endswith("| relation | place | place in the relation rows |")
    assert lines[head + 2].endswith("| 0.50 ± 0.00 | 0.11 ± 0.01 |  |")
    assert lines[head + 3].endswith("| 0.50 ± 0.00 | 0.90 ± 0.00 | 0.75 ± 0.00 |")
    assert lines[-1].endswith("relation: of 9 with two; place: of all.")

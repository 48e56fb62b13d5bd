"""The programs of the knowledge graph under hardship: a message, nothing half-made, and a rerun that completes."""

import logging
import shutil
import sys

import hardships
import numpy as np
import pytest
from knowledge_examples import WIDTH, save_captions, save_reading_backbone
from launch import ROOT

from graphs.knowledge import embed, graph, relations, triples
from pretrained.backbones import load_backbone
from utility.checkpoint import load_checkpoint, tensors_hash
from utility.feature_store import FeatureStore, FeatureWriter
from utility.manifest import Manifest

TEXTS = {
    f"v{i}": ["a man rides a horse", "a man rides the horse", "a girl cuts a cake", "a boy eats an apple"]
    for i in range(4)
}
GO_ON = {
    "triples": "stopped; what is stored stays, the same command continues",
    "graph": "stopped; what is stored stays, the same command continues",
    "embed": "last continues with --resume",
    "relations": "stopped; what is stored stays, the same command continues",
}
# Where Ctrl-C comes: (function, number of the call).
MOMENTS = {
    "triples": ("utility.record_log.RecordLog.append", 4),  # the first is the header
    "graph": ("graphs.knowledge.graph_stage.build", 1),
    "embed": ("utility.engine.to_device", 3),
    "relations": ("utility.feature_store.FeatureWriter.write", 2),
}
PROGRAMS = {"triples": triples, "graph": graph, "embed": embed, "relations": relations}


@pytest.fixture(autouse=True)
def quiet_logger():
    """The programs set up the root logger."""
    logger = logging.getLogger()
    handlers = list(logger.handlers)
    yield
    for handler in [handler for handler in logger.handlers if handler not in handlers]:
        logger.removeHandler(handler)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """A corpus with captions and whole-frame features, and a backbone that reads."""
    folder = tmp_path_factory.mktemp("untouched")
    root = save_captions(folder / "small", TEXTS, dict.fromkeys(TEXTS, "train"))
    backbone = load_backbone(str(save_reading_backbone(folder / "backbone")))
    settings = {"backbone": {"name": backbone.name, "hash": backbone.hash}, "slots": 3}
    rng = np.random.default_rng(0)
    with FeatureWriter(root / "features/tiny/small_theta2.hdf5", settings) as writer:
        for name in TEXTS:
            writer.write(name, {"frames": rng.normal(size=(3, WIDTH)), "slot_mask": np.ones(3, bool)})
        writer.finish()
    return folder


def words(folder, program):
    flags = {
        "embed": ["--width", "4", "--epochs", "2", "--passes", "3", "--batch_size", "2", "--device", "cpu"],
        "relations": ["--backbone", folder / "backbone", "--features", "tiny", "--device", "cpu"],
    }
    return ["--data_root", str(folder / "small"), *map(str, flags.get(program, []))]


def made(folder, program):
    """What a program leaves behind, in a form that two runs can be compared by."""
    small = folder / "small"
    if program == "triples":
        return (small / "knowledge/default/triples.jsonl").read_bytes()
    if program == "relations":
        rel = FeatureStore(small / "features/tiny/small_rel.hdf5")
        return {name: rel[name]["rel"].tolist() for name in rel.ids}
    return tensors_hash(
        load_checkpoint(small / "knowledge/default" / {"embed": "TransE/last"}.get(program, program)).tensors
    )


@pytest.fixture(scope="module")
def whole(untouched, tmp_path_factory):
    """The same with everything that the programs make."""
    folder = tmp_path_factory.mktemp("whole") / "copy"
    shutil.copytree(untouched, folder)
    for name, program in PROGRAMS.items():
        assert program.main(words(folder, name)) == 0
    return folder


@pytest.fixture
def before(untouched, tmp_path):
    """before(program): a folder in which the programs ahead of it have run."""

    def prepare(program):
        folder = tmp_path / "copy"
        shutil.copytree(untouched, folder)
        for name in list(PROGRAMS)[: list(PROGRAMS).index(program)]:
            assert PROGRAMS[name].main(words(folder, name)) == 0
        return folder

    return prepare


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_keeps_what_is_stored_and_the_rerun_makes_the_same(program, before, whole, capsys):
    folder = before(program)
    capsys.readouterr()
    with hardships.ctrl_c_in(*MOMENTS[program]):
        assert PROGRAMS[program].main(words(folder, program)) == 130
    assert GO_ON[program] in capsys.readouterr().err
    if program != "embed":  # which has a whole checkpoint then
        with pytest.raises(FileNotFoundError):
            made(folder, program)
    assert PROGRAMS[program].main(words(folder, program)) == 0
    assert made(folder, program) == made(whole, program)
    left = [path.name for path in folder.rglob("*") if path.suffix == ".part" or "writing" in path.name]
    assert not left
    if program == "relations":
        latest = Manifest(folder / "small/features/tiny/small_rel.manifest.jsonl").latest()
        assert {name: entry["status"] for name, entry in latest.items()} == dict.fromkeys(TEXTS, "done")


@pytest.mark.parametrize(
    ("program", "file_bytes"), [("triples", 300), ("graph", 300), ("embed", 800), ("relations", 300)]
)
def test_a_full_disk_is_a_message_and_the_rerun_makes_the_same(program, file_bytes, before, whole, capsys):
    folder = before(program)
    capsys.readouterr()
    with hardships.full_disk(file_bytes):
        assert PROGRAMS[program].main(words(folder, program)) == 2
    message = capsys.readouterr().err
    assert "while writing" in message and str(folder) in message
    assert ("free space" if program == "embed" else "File too large") in message  # torch has words of its own
    assert PROGRAMS[program].main(words(folder, program)) == 0
    assert made(folder, program) == made(whole, program)


def test_a_folder_that_cannot_be_written_to_is_a_message(before):
    folder = before("triples")
    with hardships.read_only(folder / "small"):
        result = hardships.run([sys.executable, ROOT / "graphs/knowledge/triples.py", *words(folder, "triples")])
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "Permission denied" in result.stderr and "knowledge" in result.stderr
    assert triples.main(words(folder, "triples")) == 0


def test_two_runs_at_once_are_refused(before, capsys):
    from utility.record_log import RecordLog

    folder = before("triples")
    path = folder / "small/knowledge/default/triples.jsonl.part"
    with hardships.ctrl_c_in(*MOMENTS["triples"]):
        assert triples.main(words(folder, "triples")) == 130
    first = RecordLog(path, b"")
    assert triples.main(words(folder, "triples")) == 2
    assert "is being written by another process" in capsys.readouterr().err
    first.close()
    assert triples.main(words(folder, "triples")) == 0

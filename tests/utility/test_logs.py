import logging
import sys
import types

import pytest

from utility import logs
from utility.distributed import Distributed
from utility.logs import Scalars, setup_logging


@pytest.fixture(autouse=True)
def root_logger():
    """Leaves the root logger as it was."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield
    for handler in list(logger.handlers):
        if handler not in handlers:
            logger.removeHandler(handler)
            handler.close()
    logger.setLevel(level)


def test_the_first_rank_writes_to_standard_error_and_a_file(tmp_path, capsys):
    for _ in range(2):  # a second program in one process must not double the lines
        setup_logging(None, tmp_path / "run")
    logging.getLogger("utility.x").info("step %d", 3)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("step 3") == 1
    assert (tmp_path / "run" / "log.txt").read_text().count("step 3") == 1


def test_other_ranks_say_only_warnings_and_who_they_are(tmp_path, capsys):
    setup_logging(Distributed(1, 2), tmp_path / "run")
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud")
    captured = capsys.readouterr().err
    assert "quiet" not in captured and "[rank 1] loud" in captured
    assert not (tmp_path / "run").exists()


def test_curves_are_written_by_the_first_rank_only(tmp_path):
    for folder, dist in ((tmp_path / "a", Distributed()), (tmp_path / "b", Distributed(1, 2)), (None, None)):
        curves = Scalars(folder, dist)
        curves.add({"loss": 1.0, "note": "text"}, 1, "train/")
        curves.flush()
        curves.close()
    assert list((tmp_path / "a").glob("events*")) and not (tmp_path / "b").exists()


def test_weights_and_biases_needs_a_token_and_its_package(tmp_path, monkeypatch, caplog):
    started, sent = [], []
    fake = types.SimpleNamespace(
        init=lambda **o: started.append(o) or fake, log=lambda *a, **o: sent.append((*a, o)), finish=lambda: None
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(logs.importlib.util, "find_spec", lambda name: fake)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(logs, "TOKEN_FILE", tmp_path / "wandb.txt")
    Scalars(tmp_path / "a").close()
    assert not started
    (tmp_path / "wandb.txt").write_text("secret\n")
    curves = Scalars(tmp_path / "b", config={"run_name": "vita-UCF101"})
    curves.add({"loss": 1.5, "note": "text"}, 7, "train/")
    curves.close()
    assert sent == [({"train/loss": 1.5}, {"step": 7})]
    assert started[0]["name"] == "vita-UCF101" and logs.wandb_token() == "secret"
    monkeypatch.setenv("WANDB_API_KEY", "other")
    assert logs.wandb_token() == "other"
    monkeypatch.setattr(logs.importlib.util, "find_spec", lambda name: None)
    Scalars(tmp_path / "c").close()
    assert len(started) == 1 and "no package wandb" in caplog.text

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from launch import ENVIRONMENT

from utility.arguments import config_words, parse, resolved


@dataclass
class Data:
    dataset: str = field(default="minimotion", metadata={"help": "corpus"})
    data_root: Path | None = None
    splits: list[str] = field(default_factory=list)


@dataclass
class Training:
    learning_rate: float = field(default=1e-4, metadata={"help": "step size", "aliases": ["--lr"]})
    do_train: bool = False
    shuffle: bool = True
    micro_batch_size: int | None = None

    def __post_init__(self):
        if self.learning_rate < 0:
            raise ValueError(f"--learning_rate {self.learning_rate}: must not be negative")


def refused(capsys, *arguments, **options):
    with pytest.raises(SystemExit) as end:
        parse((Data, Training), *arguments, **options)
    assert end.value.code == 2
    return capsys.readouterr().err


def write(folder, text):
    file = folder / "config.yaml"
    file.write_text(text)
    return str(file)


def test_defaults_are_those_of_the_dataclasses():
    assert parse((Data, Training), []) == (Data(), Training())
    assert parse(Data, []) == (Data(),)


@pytest.mark.parametrize(
    "words", [["--do_train"], ["--do-train"], ["--do_train", "1"], ["--do_train", "true"], ["--do_train=yes"]]
)
def test_switches_work_with_and_without_a_value(words):
    assert parse(Training, words)[0].do_train is True


@pytest.mark.parametrize("words", [["--no_shuffle"], ["--shuffle", "0"], ["--shuffle", "false"]])
def test_switches_that_are_on_can_be_turned_off(words):
    assert parse(Training, words)[0].shuffle is False


@pytest.mark.parametrize(
    "text",
    [
        "dataset: msvd\nlearning_rate: 3e-4\ndo_train: yes\nsplits: [train, val]\n",
        "dataset: msvd\nlearning-rate: 3e-4\ndo-train: 1\nsplits: [train, val]\n",
        "data: {dataset: msvd, splits: [train, val]}\ntraining:\n  do-train: true\n  optimiser:\n    lr: 3e-4\n",
    ],
)
def test_config_files_may_be_flat_or_nested_with_either_spelling(tmp_path, text):
    data, training = parse((Data, Training), ["--config", write(tmp_path, text)])
    assert data == Data(dataset="msvd", splits=["train", "val"])
    assert training == Training(learning_rate=3e-4, do_train=True)


def test_the_command_line_overrides_config_files_and_later_files_earlier_ones(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("dataset: msvd\nlearning_rate: 1\nmicro_batch_size: 4\n")
    second.write_text("dataset: msrvtt\nlearning_rate: 2\n")
    words = ["--learning_rate", "3", "--config", str(first), f"--config={second}"]
    data, training = parse((Data, Training), words)
    assert (data.dataset, training.learning_rate, training.micro_batch_size) == ("msrvtt", 3.0, 4)


def test_values_of_config_files_may_begin_with_a_dash_and_empty_ones_keep_the_default(tmp_path):
    data, training = parse((Data, Training), ["--config", write(tmp_path, "dataset: -x\nlearning_rate:\n")])
    assert (data.dataset, training.learning_rate) == ("-x", 1e-4)


def test_config_values_pass_the_same_conversion(tmp_path, capsys):
    message = refused(capsys, ["--config", write(tmp_path, "learning_rate: fast\n")])
    assert "learning_rate" in message and "'fast'" in message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--datast", "x"], ["unknown flag --datast", "--dataset"]),
        (["--learnin-rate=3"], ["unknown flag --learnin-rate", "--learning_rate"]),
        (["--data", "x"], ["unknown flag --data"]),
        (["train"], ["unexpected words: train"]),
        (["--learning_rate", "-1"], ["must not be negative"]),
    ],
)
def test_wrong_flags_are_refused_with_the_nearest_names(words, expected, capsys):
    message = refused(capsys, words)
    assert all(part in message for part in expected), message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("leaning_rate: 3\n", ["'leaning_rate'", "--learning_rate"]),
        ("training:\n  micro-batch: 3\n", ["'micro-batch'", "--micro_batch_size"]),
        ("a: {dataset: x}\nb: {dataset: y}\n", ["given twice"]),
        ("- dataset\n", ["mapping"]),
        ("a: [\n", ["not valid YAML"]),
        ("dataset: {x: 1}\n", ["needs a value"]),
    ],
)
def test_wrong_config_files_are_refused(tmp_path, capsys, text, expected):
    message = refused(capsys, ["--config", write(tmp_path, text)])
    assert "config.yaml" in message
    assert all(part in message for part in expected), message


def test_an_absent_config_file_is_named(capsys):
    assert "nowhere.yaml" in refused(capsys, ["--config", "nowhere.yaml"])
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        config_words("nowhere.yaml", ["dataset"])


def test_resolved_values_are_plain():
    values = resolved(*parse((Data, Training), ["--data_root", "x/y"]))
    assert values["data_root"] == "x/y" and values["learning_rate"] == 1e-4 and values["splits"] == []


def test_help_comes_without_importing_torch():
    code = (
        "import sys\nfrom dataclasses import dataclass\nfrom utility.arguments import parse\n"
        "@dataclass\nclass A:\n    x: int = 1\n"
        "parse(A, ['--x', '2'])\nassert 'torch' not in sys.modules\nparse(A, ['--help'])"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "--x" in result.stdout and "--config" in result.stdout


def test_a_section_may_be_the_value_of_a_flag(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("note:\n  deep: {x: 1}\n  word: caf\u00e9\nsize: 3\n")
    words = config_words(file, {"note", "size"}, sections=["note"])
    assert words == ['--note={"deep": {"x": 1}, "word": "caf\u00e9"}', "--size=3"]
    with pytest.raises(ValueError, match="'note' is a flag and needs a value"):
        config_words(file, {"note", "size"})

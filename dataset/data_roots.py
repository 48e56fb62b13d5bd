"""Where the corpora of this machine are: `--data_root`, else `dataset/paths.json`, else `dataset/NAME`.

    {"dataset_default": "ucf101", "UCF101": "/data/ucf101", "MSR-VTT": "~/msrvtt"}

is such a file; every key is optional. `dataset_default` is what the recognition trainers use without `--dataset`.
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATHS_FILE = HERE / "paths.json"
DEFAULT_KEY = "dataset_default"


def plain_name(name: str) -> str:
    """A corpus's name without case, hyphens, underscores and blanks: "MSR-VTT" and "msr_vtt" mean one corpus."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def data_root(given: str | None, name: str, file: Path | None = None) -> Path:
    """Folder of a corpus.

    Args:
        given: value of `--data_root`.
        name: folder name of the corpus below `dataset/`.

    Raises:
        ValueError: paths.json is not an object of texts.
    """
    if given:
        return Path(given).expanduser()
    noted = {plain_name(key): value for key, value in read_paths(file).items()}
    place = noted.get(plain_name(name))
    # A relative place is meant from where the file lies, not from where a program was started.
    return HERE / Path(place).expanduser() if place else HERE / name


def dataset_default(file: Path | None = None) -> str:
    """The corpus that the recognition trainers take without `--dataset`: MiniMotion until paths.json says another."""
    return read_paths(file).get(DEFAULT_KEY, "minimotion")


def read_paths(file: Path | None = None) -> dict[str, str]:
    """Contents of paths.json, empty where there is none."""
    file = file or PATHS_FILE
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not a JSON file: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise ValueError(f'{file} must hold an object of texts, such as {{"UCF101": "/data/ucf101"}}')
    return content

"""Flags and config files: dataclasses are the only source of names, types and defaults.

    @dataclass
    class Arguments:
        epochs: int = field(default=20, metadata={"help": "passes over the training captions"})

    (arguments,) = parse(Arguments)

A config file (`--config FILE.yaml`, may be given several times, the last one wins) is turned into flags that are placed
before the command line, so that it passes the same conversion and checks and the command line overrides it. It may be
flat or nested (sections only group, they are not part of a name) and may write names with `-` or `_`.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml


def parse(
    dataclass_types: type | Sequence[type],
    argv: Sequence[str] | None = None,
    config_flag: bool = True,
    prog: str | None = None,
    description: str | None = None,
    sections: Sequence[str] = (),
) -> tuple[Any, ...]:
    """One instance per dataclass, filled from config files and the command line.

    A wrong name or value ends the program with status 2 and one line that says what is known, as argparse does; so does
    a ValueError from a dataclass's `__post_init__`. `resolved(*instances)` gives all values as one dictionary.

    Args:
        dataclass_types: one dataclass or several with distinct field names.
        argv: words of the command line, by default those of this process.
        config_flag: whether `--config` is offered.
        sections: flags whose value is a whole section of a config file; they receive it as JSON.
    """
    # Inside, because importing transformers takes half a second that callers of the other functions need not wait.
    from transformers import HfArgumentParser

    class Parser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:
            # The usage line of a program with forty flags hides the message.
            self.exit(2, f"{self.prog}: error: {message}\nRun with --help to see every flag.\n")

    types = [dataclass_types] if isinstance(dataclass_types, type) else list(dataclass_types)
    parser = Parser(
        types, prog=prog, description=description, allow_abbrev=False, formatter_class=_HelpFormatter, add_help=True
    )
    if config_flag:
        parser.add_argument(
            "--config", action="append", metavar="FILE", help="YAML file of flags; the command line overrides it"
        )
    words = list(sys.argv[1:] if argv is None else argv)
    known = _known_names(parser)
    if config_flag:
        for file in reversed(_config_files(words)):
            try:
                words = config_words(file, known, sections) + words
            except (ValueError, FileNotFoundError) as error:
                parser.error(str(error))
    namespace, rest = parser.parse_known_args(words)
    if rest:
        parser.error(_unknown_words(rest, known))
    instances = []
    for kind in types:
        values = {f.name: getattr(namespace, f.name) for f in dataclasses.fields(kind) if f.init}
        try:
            instances.append(kind(**values))
        except ValueError as error:
            parser.error(str(error))
    return tuple(instances)


def given_names(dataclass_types: type | Sequence[type], argv: Sequence[str] | None = None) -> set[str]:
    """Names of the fields that the command line or a config file sets, under whatever spelling.

    For words that `parse` has accepted.
    """
    types = [dataclass_types] if isinstance(dataclass_types, type) else list(dataclass_types)
    names = {}
    for field in (field for kind in types for field in dataclasses.fields(kind)):
        for spelling in (field.name, f"no_{field.name}", *field.metadata.get("aliases", ())):
            names[spelling.lstrip("-").replace("-", "_")] = field.name
    words = list(sys.argv[1:] if argv is None else argv)
    for file in _config_files(words):
        words += config_words(file, names)
    flags = (word[2:].split("=")[0].replace("-", "_") for word in words if word.startswith("--"))
    return {names[flag] for flag in flags if flag in names}


def resolved(*instances: Any) -> dict[str, Any]:
    """All values of the given dataclass instances in one flat dictionary of JSON types (paths become text)."""
    merged: dict[str, Any] = {}
    for instance in instances:
        merged.update(dataclasses.asdict(instance))
    return {name: str(value) if isinstance(value, Path) else value for name, value in merged.items()}


def config_words(file: str | Path, known: Iterable[str], sections: Iterable[str] = ()) -> list[str]:
    """The flags that a YAML config file stands for, in the order of the file.

    Args:
        known: names (with `_`) that the program understands.
        sections: those of them that take a whole section, as JSON.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: not YAML, not a mapping, an unknown name, one name twice with different values.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"config file not found: {file}")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not valid YAML: {error}") from error
    if content is None:
        return []
    if not isinstance(content, dict):
        raise ValueError(f"{file}: a config file is a mapping of flag names to values, got a {type(content).__name__}")
    known = set(known)
    values: dict[str, Any] = {}
    _collect(content, known, set(sections), values, file)
    words: list[str] = []
    for name, value in values.items():
        if value is None:
            continue  # "name:" without a value keeps the default
        if isinstance(value, list):
            words += [f"--{name}", *map(_word, value)]
        else:
            words.append(f"--{name}={_word(value)}")  # one word, so that a value may start with "-"
    return words


def nearest(name: str, known: Iterable[str]) -> str:
    """`", did you mean --a or --b?"` with at most three names, or nothing where none is close."""
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    close += [k for k in known if k not in close and len(name) >= 4 and (name in k or k in name)][: 3 - len(close)]
    if close:
        return ", did you mean " + " or ".join(f"--{match}" for match in close) + "?"
    return ""


def _collect(section: dict, known: set[str], sections: set[str], values: dict[str, Any], file: Path) -> None:
    for key, value in section.items():
        name = str(key).strip().lstrip("-").replace("-", "_")
        if isinstance(value, dict) and name not in known:
            _collect(value, known, sections, values, file)
            continue
        if name not in known or name == "config":
            raise ValueError(f"{file}: unknown name {key!r}{nearest(name, known)}")
        if isinstance(value, dict) and name in sections:
            value = json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict):
            raise ValueError(f"{file}: {key!r} is a flag and needs a value, got a section")
        if name in values and values[name] != value:
            raise ValueError(f"{file}: {key!r} is given twice, as {values[name]!r} and as {value!r}")
        values[name] = value


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _config_files(words: list[str]) -> list[str]:
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", action="append", default=[])
    return finder.parse_known_args([w for w in words if w not in ("-h", "--help")])[0].config


def _known_names(parser: argparse.ArgumentParser) -> set[str]:
    flags = (flag for action in parser._actions for flag in action.option_strings if flag.startswith("--"))
    return {flag[2:].replace("-", "_") for flag in flags} - {"help"}


def _unknown_words(rest: list[str], known: set[str]) -> str:
    names = [word for word in rest if word.startswith("--")]
    if not names:
        return f"unexpected words: {' '.join(rest)}. Values follow their flag, as in --flag VALUE"
    messages = []
    for word in names:
        name = word[2:].split("=")[0]
        messages.append(f"unknown flag --{name}{nearest(name.replace('-', '_'), known)}")
    return "; ".join(messages)


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows `--name_with_underscores` once instead of both spellings."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        spellings = {flag.replace("-", "_"): flag for flag in reversed(action.option_strings)}
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return ", ".join(reversed(spellings.values())) + f" {value}"

"""One row of a published table of caption scores, and how it stands beside one's own.

    published:
      source: where the numbers are printed
      scores: {BLEU_4: 49.10, METEOR: 31.57, ROUGE_L: 65.52, CIDEr: 61.27}    # in hundredths
      protocol: {corpus: MSR-VTT, split: test, batch_size: 1024, seed: null}  # null: the publication does not say

Two numbers can be compared as far as their protocols agree, so every difference is printed with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEYS = ("source", "scores", "protocol")
SCORES = ("BLEU_1", "BLEU_2", "BLEU_3", "BLEU_4", "METEOR", "ROUGE_L", "CIDEr")


@dataclass(frozen=True)
class PublishedRow:
    """Numbers in hundredths by the names of our scores, and what is known about how they came about."""

    source: str
    scores: dict[str, float]
    protocol: dict[str, Any]

    @classmethod
    def read(cls, text: str) -> PublishedRow:
        """The row of a JSON object.

        Raises:
            ValueError: another form; the message says what belongs there.
        """
        try:
            row = json.loads(text)
        except ValueError as error:
            raise ValueError(f"--published is not JSON ({error}); it is a section of a file in configs/") from error
        if not isinstance(row, dict) or set(row) != set(KEYS):
            given = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
            raise ValueError(f"--published must have {', '.join(KEYS)}; it has {given}")
        unknown = [name for name in row["scores"] if name not in SCORES]
        if unknown or not row["scores"]:
            raise ValueError(f"--published: scores are some of {', '.join(SCORES)}; given are {', '.join(unknown)}")
        return cls(str(row["source"]), {k: float(v) for k, v in row["scores"].items()}, dict(row["protocol"]))

    def differences(self, own: Mapping[str, Any]) -> list[str]:
        """One line for everything in which the two protocols differ, or may."""
        lines = []
        for name in [*self.protocol, *(name for name in own if name not in self.protocol)]:
            mine, theirs = own.get(name), self.protocol.get(name)
            if name == "missing_videos":
                lines += [f"{split}: {count} videos missing" for split, count in (mine or {}).items() if count]
            elif theirs is None:
                lines.append(f"{name}: the publication does not say, own {_shown(mine)}")
            elif mine is None:
                lines.append(f"{name}: published {_shown(theirs)}, own not known")
            elif mine != theirs:
                lines.append(f"{name}: published {_shown(theirs)}, own {_shown(mine)}")
        return lines

    def table(self, scores: Mapping[str, Any], own: Mapping[str, Any]) -> str:
        """Both rows side by side in hundredths, then every difference.

        Args:
            scores: own scores as `utility.caption_scores.score` gives them.
            own: own protocol, by the names of the published one.
        """
        lines = [self.source, f"{'':10}{'published':>10}{'own':>10}{'own - published':>18}"]
        for name, theirs in self.scores.items():
            mine = scores.get(name)
            numbers = f"{'missing':>10}" if mine is None else f"{100 * mine:10.2f}{100 * mine - theirs:+18.2f}"
            lines.append(f"{name:10}{theirs:10.2f}{numbers}")
        differences = self.differences(own)
        lines.append("differences:" if differences else "the protocols agree in all that the publication says")
        return "\n".join(lines + [f"  {line}" for line in differences])


def own_protocol(scores: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """How own scores came about, in the words of a published protocol.

    Args:
        scores: content of a score file.
        config: of the checkpoint that was scored.
    """
    trained = config.get("arguments") or {}
    named = ("corpus", "split", "videos", "missing_videos", "references", "tokenizer", "max_words", "backbone")
    return {
        **{name: scores.get(name) for name in named},
        **{name: trained.get(name) for name in ("batch_size", "lr", "epochs", "seed")},
        "beam": scores["search"]["beam"],
        "network": f"{scores['model_name']}, both directions, {config['captioner']['layers']} layers",
    }


def _shown(value: Any) -> str:
    return " / ".join(str(part) for part in value.values()) if isinstance(value, Mapping) else str(value)

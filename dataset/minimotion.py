"""Reader of MiniMotion, the corpus that `python -m dataset.mini_motion` draws."""

from __future__ import annotations

from pathlib import Path

from dataset.corpus import Corpus, CorpusError, first_file, open_json
from dataset.msrvtt import corpus_from, read_annotation


def read_minimotion(
    root: Path, captions: Path | None = None, protocol: str = "captioning", videos: Path | None = None
) -> Corpus:
    """MiniMotion with the splits of its captions file.

    Raises:
        FileNotFoundError: the corpus has not been drawn yet.
    """
    if protocol not in ("captioning", "retrieval"):
        raise ValueError(f"Unknown protocol ({protocol}). MiniMotion has its own splits: captioning.")
    root = Path(root)
    path = Path(captions) if captions is not None else first_file([root / "metadata"], "captions.json")
    if path is None:
        raise FileNotFoundError(f"MiniMotion is not in {root}; draw it with `python -m dataset.mini_motion`")
    return corpus_from(read_annotation(path), "MiniMotion", root, videos)


def draw_if_absent(root: Path) -> bool:
    """Draws MiniMotion where it is not there yet; whether that was needed."""
    from dataset.mini_motion import make

    if first_file([Path(root) / "metadata"], "captions.json") is not None:
        return False
    make(Path(root))
    return True


def read_attributes(root: Path) -> dict[str, object]:
    """The contents of `metadata/attributes.json`: what was drawn in every clip.

    Raises:
        FileNotFoundError: the corpus has not been drawn yet.
        CorpusError: not an object.
    """
    path = Path(root) / "metadata" / "attributes.json"
    data = open_json(path)
    if not isinstance(data, dict):
        raise CorpusError(f"{path} must hold an object")
    return data

"""MiniMotion: the corpus that draws itself.

    python -m dataset.mini_motion                                  # 3,000 clips into dataset/MiniMotion
    python -m dataset.mini_motion --num_clips 40 --seed 3 --root DIR
    python -m dataset.mini_motion --places --root DIR              # the same scripts, in places that captions name

Clips of two to four seconds, real H.264 files of several sizes and frame rates, show coloured shapes that move over
textured backgrounds; a third of them show two shapes in a relation. Five captions per clip come from a grammar. One
fifth of all (colour, shape, action) combinations occurs in the test split only. A killed run continues where it
stopped: what a clip shows depends on the seed, its number and its split alone.

With `--places` something stands still at the lower edge of every clip, a sea or a wall, and every caption says over
what a thing moves. Nothing else tells it: places are drawn evenly, whatever moves above them.

Written below the root: `videos/video{k}.mp4`, then `metadata/captions.json` (MSR-VTT schema, splits train, validate,
test), then `metadata/attributes.json` (what each clip shows, the synonyms).
"""

import itertools
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from dataset import mini_motion_grammar as grammar
from utility.processes import ignore_interrupts
from utility.whole_files import whole_file

VERSION = 1  # of the drawing; part of what decides whether clips on disk are kept
UNSEEN = 0.2  # share of the attribute combinations kept for the test split
TEST, VALIDATE = 0.09, 0.02  # shares of the clips
# Where the reader looks for the corpus too, whatever the working directory.
DEFAULT_ROOT = Path(__file__).resolve().parent / "MiniMotion"


@dataclass
class MiniMotionArguments:
    """What to draw, and where."""

    num_clips: int = field(default=3000, metadata={"help": "number of clips; 20 or more"})
    seed: int = field(default=0, metadata={"help": "everything that is drawn depends on it and on nothing else"})
    root: str | None = field(
        default=None, metadata={"help": "folder of the corpus; default dataset/MiniMotion beside the programs"}
    )
    workers: int = field(default=0, metadata={"help": "processes; 0: one per core"})
    places: bool = field(default=False, metadata={"help": "clips are in places, and captions name them"})


@dataclass(frozen=True)
class Clip:
    """The script of one clip: what happens in it, and its captions."""

    number: int
    split: str
    things: tuple[grammar.Thing, ...]
    relation: str | None
    unseen: bool
    captions: tuple[str, ...]
    place: str | None = None

    @property
    def video_id(self) -> str:
        return f"video{self.number}"


def unseen_combinations(seed: int) -> set[grammar.Thing]:
    """The attribute combinations of the test split: every colour, shape and action stays frequent in training."""
    everything = [grammar.Thing(*c) for c in itertools.product(grammar.COLORS, grammar.SHAPES, grammar.VERBS)]
    order = np.random.default_rng([seed, 0]).permutation(len(everything))
    return {everything[k] for k in order[: round(UNSEEN * len(everything))]}


def script(number: int, split: str, seed: int, unseen: set[grammar.Thing], places: bool = False) -> Clip:
    """The script of clip `number`.

    Every third clip has two objects. Half of the other test clips show combinations that training never shows. Places
    change nothing of what moves.
    """
    rng = np.random.default_rng([seed, 1, number])
    colors, shapes = list(grammar.COLORS), list(grammar.SHAPES)
    relation = str(rng.choice(list(grammar.RELATIONS))) if number % 3 == 2 else None
    wants_unseen = split == "test" and relation is None and number % 2 == 0
    while True:
        # A draw is repeated until it lies in the wanted part of the combinations.
        if relation is None:
            things = (
                grammar.Thing(str(rng.choice(colors)), str(rng.choice(shapes)), str(rng.choice(list(grammar.VERBS)))),
            )
        else:
            ways = ["moves left", "moves right"]
            way = int(rng.integers(2))
            pair = rng.choice(colors, 2, replace=False)
            actions = (ways[way], ways[way] if relation == "follows" else ways[1 - way])
            things = tuple(
                grammar.Thing(str(c), str(rng.choice(shapes)), a) for c, a in zip(pair, actions, strict=True)
            )
        held_back = any(thing in unseen for thing in things)
        if held_back == wants_unseen:
            break
    place = str(rng.choice(list(grammar.PLACES))) if places else None
    captions = tuple(grammar.captions(list(things), relation, rng, place=place))
    return Clip(number, split, things, relation, held_back, captions, place)


def scripts(num_clips: int, seed: int, places: bool = False) -> list[Clip]:
    """Scripts of a whole corpus.

    Raises:
        ValueError: fewer than 20 clips, which cannot fill three splits.
    """
    if num_clips < 20:
        raise ValueError(
            f"num_clips is {num_clips}; it must be at least 20, so that each split has clips of both kinds"
        )
    unseen = unseen_combinations(seed)
    num_test, num_validate = round(TEST * num_clips), max(round(VALIDATE * num_clips), 2)
    first_test = num_clips - num_test
    names = ["train"] * (first_test - num_validate) + ["validate"] * num_validate + ["test"] * num_test
    return [script(number, split, seed, unseen, places) for number, split in enumerate(names)]


def _draw_and_write(clip: Clip, seed: int, folder: Path) -> None:
    from dataset.mini_motion_scenes import draw
    from utility.video_writer import write_video

    frames, rate = draw(list(clip.things), clip.relation, np.random.default_rng([seed, 2, clip.number]), clip.place)
    write_video(folder / f"{clip.video_id}.mp4", frames, rate, crf=23, preset="superfast")


def _write_json(path: Path, content: dict) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def make(root: Path, num_clips: int = 3000, seed: int = 0, workers: int = 0, places: bool = False) -> list[Clip]:
    """Draw the corpus below `root`; clips that an earlier run with the same settings finished are kept.

    Returns:
        The scripts of all clips.

    Raises:
        ValueError: too few clips, or a folder with videos or captions that were not drawn here.
        OSError: a process that draws was killed, or the disk takes no more.
    """
    from tqdm import tqdm

    clips = scripts(num_clips, seed, places)
    videos, metadata = root / "videos", root / "metadata"
    videos.mkdir(parents=True, exist_ok=True)
    metadata.mkdir(parents=True, exist_ok=True)
    # Named only where there are some, so that corpora without places stay what they are.
    settings = {"seed": seed, "num_clips": num_clips, "version": VERSION} | ({"places": True} if places else {})
    marker = metadata / "settings.json"
    before = json.loads(marker.read_text()) if marker.exists() else None
    if before is None and (any(videos.iterdir()) or (metadata / "captions.json").exists()):
        # Other corpora name their videos as this one does.
        raise ValueError(f"{root} holds a corpus that was not drawn here; give an empty or new folder with --root")
    if before != settings:
        for number in range((before or {}).get("num_clips", 0)):
            (videos / f"video{number}.mp4").unlink(missing_ok=True)
        for name in ("captions.json", "attributes.json"):
            (metadata / name).unlink(missing_ok=True)
        _write_json(marker, settings)
    missing = [clip for clip in clips if not (videos / f"{clip.video_id}.mp4").exists()]
    if missing:
        # Ctrl-C reaches all processes; those that draw finish the clip at hand.
        with ProcessPoolExecutor(workers or os.cpu_count(), initializer=ignore_interrupts) as pool:
            try:
                jobs = pool.map(_draw_and_write, missing, itertools.repeat(seed), itertools.repeat(videos), chunksize=2)
                for _ in tqdm(jobs, total=len(missing), desc="drawing clips", unit="clip"):
                    pass
            except BrokenProcessPool as error:
                raise OSError(
                    "a process that draws was killed, perhaps for lack of memory; what is drawn stays, the same "
                    "command continues, with fewer processes by --workers"
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    sentences = [(clip.video_id, caption) for clip in clips for caption in clip.captions]
    _write_json(
        metadata / "captions.json",
        {
            "info": {"description": "MiniMotion", **settings},
            "videos": [{"video_id": clip.video_id, "id": clip.number, "split": clip.split} for clip in clips],
            "sentences": [{"video_id": v, "caption": c, "sen_id": k} for k, (v, c) in enumerate(sentences)],
        },
    )
    _write_json(
        metadata / "attributes.json",
        {
            "synonyms": grammar.SYNONYMS | ({"place": grammar.PLACES} if places else {}),
            "videos": {
                clip.video_id: {
                    "objects": [asdict(thing) for thing in clip.things],
                    "relation": clip.relation,
                    "unseen": clip.unseen,
                    "true_sentence": grammar.true_sentence(list(clip.things), clip.relation, clip.place),
                }
                | ({"place": clip.place} if places else {})
                for clip in clips
            },
        },
    )
    return clips


def main(argv: list[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    from utility.arguments import parse

    (args,) = parse((MiniMotionArguments,), argv, description="Draw the MiniMotion corpus.")
    try:
        make(Path(args.root or DEFAULT_ROOT), args.num_clips, args.seed, args.workers, args.places)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what is drawn stays, the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

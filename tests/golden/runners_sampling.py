"""Golden runner of the retrieval reader's frame sampling."""

from utility.sampling import clip4clip_frames, slice_positions


def frame_sampling(spec, arrays, folder):
    for case in spec["cases"]:
        frames = clip4clip_frames(
            case["frame_count"], case["fps"], case["feature_framerate"], case["start"], case["end"]
        )
        assert frames.tolist() == case["frames_read"], case
        for max_frames, by_position in case["positions_kept_by_max_frames_and_slice_framepos"].items():
            for slice_framepos, expected in by_position.items():
                kept = slice_positions(len(frames), int(max_frames), int(slice_framepos))
                assert kept.tolist() == expected, (case, max_frames, slice_framepos)


RUNNERS = {"clip4clip/frame_sampling": frame_sampling}

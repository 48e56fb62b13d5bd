import errno
import multiprocessing
import os
import pickle
import signal
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from launch import ENVIRONMENT, launch

from utility.feature_layout import escape, unescape
from utility.feature_store import (
    FeatureStore,
    FeatureWriter,
    SettingsMismatch,
    feature_path,
    find_feature,
    settings_hash,
)
from utility.record_log import LogInUse

SETTINGS = {"rate": 1.0, "backbone": {"name": "tiny", "hash": "ab"}}
IDS = ["video0", "-abc_1_2", "a b", "видео", "50%", "a/b", "..", ".", "x.y", "a%2Fb", "lone\udc80"]


def arrays(seed=0):
    generator = np.random.default_rng(seed)
    return {
        "nodes": generator.normal(size=(2, 3, 4)).astype(np.float32),
        "slot_mask": np.array([True, False]),
        "frame_index": np.array([3, -1], np.int32),
        "temporal": generator.random((1, 3, 3)).astype(np.float32),
    }


def write(path, ids, settings=SETTINGS, finish=True, **options):
    with FeatureWriter(path, settings, **options) as writer:
        before = set(writer.done)
        for name in ids:
            if name not in before:
                writer.write(name, arrays(len(name)), {"frames": 7})
        if finish:
            writer.finish()
    return before


def same(store, ids):
    assert store.ids == sorted(ids)
    for name in ids:
        stored = store[name]
        assert set(stored) == set(arrays())
        assert np.array_equal(stored["nodes"], arrays(len(name))["nodes"].astype(np.float16))


def test_arrays_come_back_for_every_kind_of_id(tmp_path):
    path = feature_path(tmp_path / "tiny", "MSVD", "GBased")
    assert path == tmp_path / "tiny" / "MSVD_GBased.hdf5"
    write(path, IDS, notes={"overlap": 3})
    assert os.listdir(path.parent) == ["MSVD_GBased.hdf5"]
    store = FeatureStore(path)
    same(store, IDS)
    stored = store["a/b"]
    assert stored["nodes"].dtype == np.float16 and stored["temporal"].dtype == np.float32
    assert stored["slot_mask"].dtype == bool and stored["frame_index"].tolist() == [3, -1]
    assert np.array_equal(stored["temporal"], arrays(3)["temporal"])
    assert store.settings == SETTINGS and store.settings_hash == settings_hash(SETTINGS)
    assert store.notes == {"overlap": 3} and store.attributes("a/b") == {"frames": 7}
    assert len(store) == len(IDS) and "video0" in store and "video1" not in store and list(store) == store.ids
    assert set(store.read("video0", ["nodes"])) == {"nodes"}


@pytest.mark.parametrize("name", IDS)
def test_group_names_are_reversible(name):
    assert unescape(escape(name)) == name
    escape(name).encode()


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_impossible_ids_are_refused(name):
    with pytest.raises(ValueError, match="video id"):
        escape(name)


def test_what_is_not_there_is_named(tmp_path):
    path = feature_path(tmp_path, "MSVD", "GBased")
    with pytest.raises(FileNotFoundError, match=r"MSVD_GBased\.hdf5"):
        FeatureStore(path)
    write(path, ["video0"])
    with pytest.raises(KeyError, match=r"'video1' is not in .*MSVD_GBased\.hdf5 \(1 videos\)"):
        FeatureStore(path)["video1"]
    with pytest.raises(KeyError, match=r"no 'boxes'.*nodes"):
        FeatureStore(path).read("video0", ["boxes"])


def test_arrays_of_any_layout_are_read(tmp_path):
    path = tmp_path / "any.hdf5"
    write(path, ["a", "b"])
    known = {
        "packed": np.arange(12, dtype=np.float16).reshape(3, 4),
        "swapped": np.arange(5, dtype=">i4"),
        "nothing": np.zeros((0, 4), np.float32),
        "one": np.array(7.5),
    }
    with h5py.File(path, "r+") as file:
        for name, array in known.items():
            packed = {"chunks": (2, 2), "compression": "gzip"} if name == "packed" else {}
            file["a"].create_dataset(name, data=array, **packed)
        file["a"]["texts"] = ["ein", "два"]
        file["a"].attrs["frames"] = 8
    store = FeatureStore(path)
    read = store.read("a")
    with h5py.File(path) as file:
        assert list(read) == list(file["a"])
        for name, array in read.items():
            assert array.dtype == file["a"][name].dtype and np.array_equal(array, file["a"][name][()])
    assert np.array_equal(read["packed"], known["packed"]) and list(read["texts"]) == [b"ein", "два".encode()]
    places = store.places("a")
    assert places["packed"].offset is None and places["nodes"].offset > 0 and places["nodes"].shape == (2, 3, 4)
    read["nodes"][:] = 0
    assert store["a"]["nodes"].any(), "arrays belong to who reads them"


def test_videos_are_read_into_the_rows_of_one_array(tmp_path):
    path = tmp_path / "rows.hdf5"
    write(path, ["a", "bb"])
    store = FeatureStore(path)
    rows = {"nodes": np.empty((2, 2, 3, 4), np.float16), "temporal": np.empty((2, 1, 3, 3), np.float64)}
    for number, name in enumerate(store):
        store.read_into(name, {key: array[number] for key, array in rows.items()})
    for key, array in rows.items():
        assert np.array_equal(array, np.stack([store[name][key] for name in store]))
    every_other = np.empty((2, 3, 8), np.float16)[:, :, ::2]
    store.read_into("bb", {"nodes": every_other})
    assert np.array_equal(every_other, rows["nodes"][1])
    with pytest.raises(ValueError, match=r"nodes of 'a' is \(2, 3, 4\), asked for as \(2, 3, 5\)"):
        store.read_into("a", {"nodes": np.empty((2, 3, 5), np.float16)})


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path):
    path = tmp_path / "cut.hdf5"
    write(path, ["a", "b"])
    store = FeatureStore(path)
    end = store.places("b")["nodes"].offset
    os.truncate(path, end + 3)
    with pytest.raises(ValueError, match=r"cut\.hdf5 was cut off while it was open: nodes of 'b' is incomplete"):
        store.read("b", ["nodes"])


def test_a_store_that_was_closed_reads_the_file_of_then(tmp_path):
    path = tmp_path / "new.hdf5"
    write(path, ["a"])
    store = FeatureStore(path)
    old = store["a"]["nodes"]
    with FeatureWriter(tmp_path / "other.hdf5", SETTINGS) as writer:
        writer.write("a", {"first": np.ones(99), "nodes": 2 * old})
        writer.finish()
    os.replace(tmp_path / "other.hdf5", path)
    assert np.array_equal(store["a"]["nodes"], old), "an open file stays the one that was opened"
    store.close()
    assert np.array_equal(store["a"]["nodes"], 2 * old)


def test_unreadable_and_foreign_files_are_refused(tmp_path):
    (tmp_path / "broken.hdf5").write_bytes(b"not hdf5")
    with pytest.raises(ValueError, match=r"not a readable HDF5.*delete it and make it again"):
        FeatureStore(tmp_path / "broken.hdf5").ids  # noqa: B018
    with h5py.File(tmp_path / "foreign.hdf5", "w") as file:
        file["video0"] = [1]
    with pytest.raises(ValueError, match="not a complete feature file"):
        FeatureStore(tmp_path / "foreign.hdf5").ids  # noqa: B018


def test_a_finished_file_can_be_continued(tmp_path):
    path = tmp_path / "X_GBased.hdf5"
    write(path, ["a", "b"])
    assert write(path, ["a", "b", "c"]) == {"a", "b"}
    same(FeatureStore(path), ["a", "b", "c"])
    stamp = path.stat().st_mtime_ns
    assert write(path, ["a"]) == {"a", "b", "c"}
    assert path.stat().st_mtime_ns == stamp and os.listdir(tmp_path) == [path.name]


def test_an_unfinished_run_is_continued_and_nothing_stored_makes_no_file(tmp_path):
    path = tmp_path / "X_GBased.hdf5"
    write(path, ["a", "b"], finish=False)
    assert os.listdir(tmp_path) == ["X_GBased.hdf5.rank0.part"]
    with pytest.raises(FileNotFoundError, match="unfinished parts"):
        find_feature(tmp_path, "X", "GBased")
    assert write(path, ["a", "b", "c"]) == {"a", "b"}
    same(FeatureStore(path), ["a", "b", "c"])
    write(tmp_path / "X_none.hdf5", [])
    assert os.listdir(tmp_path) == [path.name]


def test_parts_of_more_processes_than_now_are_taken_over(tmp_path):
    path = tmp_path / "X_GBased.hdf5"
    for rank, name in enumerate("abc"):
        write(path, [name], finish=False)
        os.replace(tmp_path / "X_GBased.hdf5.rank0.part", tmp_path / f"rank{rank}")
    for rank in range(3):
        os.replace(tmp_path / f"rank{rank}", tmp_path / f"X_GBased.hdf5.rank{rank}.part")
    assert write(path, ["a", "b", "c", "d"]) == {"a", "b", "c"}
    same(FeatureStore(path), ["a", "b", "c", "d"])


@pytest.mark.parametrize("damage", ["cut", "flip", "garbage"])
def test_of_a_damaged_part_only_the_last_record_is_lost(tmp_path, damage):
    path = tmp_path / "X_GBased.hdf5"
    part = tmp_path / "X_GBased.hdf5.rank0.part"
    write(path, ["a", "b"], finish=False)
    whole = part.stat().st_size
    write(path, ["a", "b", "c"], finish=False)
    data = bytearray(part.read_bytes())
    if damage == "cut":
        data = data[: whole + 40]
    elif damage == "flip":
        data[whole + 100] ^= 1
    else:
        data[whole:] = struct.pack("<IQI", 3, 2**60, 0)
    part.write_bytes(data)
    assert write(path, ["a", "b", "c"]) == {"a", "b"}
    same(FeatureStore(path), ["a", "b", "c"])


def test_an_unreadable_part_is_set_aside_and_named(tmp_path, caplog):
    path = tmp_path / "X_GBased.hdf5"
    (tmp_path / "X_GBased.hdf5.rank0.part").write_bytes(b"garbage from a full disk")
    (tmp_path / "X_GBased.hdf5.rank1.part").write_bytes(b"")
    assert write(path, ["a"]) == set()
    same(FeatureStore(path), ["a"])
    assert sorted(os.listdir(tmp_path)) == ["X_GBased.hdf5", "X_GBased.hdf5.rank0.part.unreadable"]
    assert "rank0.part" in caplog.text and "set aside" in caplog.text


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"rate": 2.0}, "rate was 1.0, now 2.0"),
        ({"backbone": {"name": "tiny", "hash": "cd"}}, "backbone.hash was 'ab'"),
    ],
)
def test_changed_settings_are_refused_and_named(tmp_path, finished, changed, named):
    path = tmp_path / "X_GBased.hdf5"
    write(path, ["a"], finish=finished)
    with pytest.raises(SettingsMismatch, match=named):
        FeatureWriter(path, {**SETTINGS, **changed})
    assert write(path, ["a"]) == {"a"}  # nothing was harmed


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "'a': nodes holds NaN"), (np.inf, "'a': nodes holds NaN or infinite"), (1e5, "range of half precision")],
)
def test_values_that_cannot_be_stored_are_refused(tmp_path, value, message):
    with FeatureWriter(tmp_path / "X_GBased.hdf5", {}) as writer:
        with pytest.raises(ValueError, match=message):
            writer.write("a", {"nodes": np.array([1.0, value])})
        writer.write("a", {"temporal": np.array([1e5]), "empty": np.zeros((0, 3))})


def test_torch_tensors_of_any_kind_are_stored(tmp_path):
    path = tmp_path / "X_GBased.hdf5"
    with FeatureWriter(path, {}) as writer:
        leaf = torch.ones(2, requires_grad=True)
        writer.write("a", {"nodes": leaf.bfloat16(), "slot_mask": torch.tensor([True]), "n": torch.tensor(3)})
        writer.finish()
    stored = FeatureStore(path)["a"]
    assert stored["nodes"].tolist() == [1, 1] and stored["slot_mask"].dtype == bool and stored["n"] == 3


def test_two_runs_at_once_are_refused(tmp_path):
    path = tmp_path / "X_GBased.hdf5"
    code = f"from utility.feature_store import FeatureWriter\nFeatureWriter({str(path)!r}, {{}})"
    with FeatureWriter(path, {}) as writer:
        with pytest.raises(LogInUse, match="another process"):
            FeatureWriter(path, {})
        result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
        assert "LogInUse" in result.stderr
        writer.write("a", {"nodes": np.ones(1)})
        writer.finish()
    assert FeatureStore(path).ids == ["a"]


def test_a_full_disk_is_named_and_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "X_GBased.hdf5"
    with FeatureWriter(path, SETTINGS) as writer:
        writer.write("a", arrays(1), {"frames": 7})

        class Full:
            def __init__(self, file):
                self.file = file

            def write(self, data):
                if len(data) < 500:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return self.file.write(data[:100])

            def __getattr__(self, name):
                return getattr(self.file, name)

        monkeypatch.setattr(writer._log, "_file", Full(writer._log._file))
        with pytest.raises(OSError, match=r"No space left on device.*rank0\.part.*free space"):
            writer.write("b", arrays(1))
    assert write(path, ["a", "b"]) == {"a"}
    same(FeatureStore(path), ["a", "b"])


FULL_AT_THE_END = """
import resource, sys
import numpy as np
from utility.feature_store import FeatureWriter
with FeatureWriter(sys.argv[1], {"rate": 1}) as writer:
    for name in "abc":
        writer.write(name, {"nodes": np.full((20, 9, 64), ord(name))})
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        writer.finish()
    except OSError as error:
        sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize("room", [10, 30_000])
def test_a_disk_that_fills_up_while_parts_are_merged_loses_nothing(tmp_path, room):
    script, path = tmp_path / "script.py", tmp_path / "X.hdf5"
    script.write_text(FULL_AT_THE_END)
    result = subprocess.run(
        [sys.executable, script, path, str(room)], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1 and "X.hdf5.merging; nothing is lost" in result.stderr, result.stderr
    assert sorted(os.listdir(tmp_path)) == ["X.hdf5.rank0.part", "script.py"]
    with FeatureWriter(path, {"rate": 1}) as writer:
        assert writer.done == set("abc")
        writer.finish()
    store = FeatureStore(path)
    assert all((store[name]["nodes"] == ord(name)).all() for name in "abc")


def _read(store):
    return store["a"]["nodes"].sum().item()


def test_stores_work_in_other_processes(tmp_path):
    path = tmp_path / "X_GBased.hdf5"
    write(path, ["a"])
    store = FeatureStore(path)
    here = _read(store)
    assert _read(pickle.loads(pickle.dumps(store))) == here
    with multiprocessing.get_context("fork").Pool(2) as pool:  # the handle opened here must not be used there
        assert pool.map(_read, [store] * 4) == [here] * 4


def test_features_are_found_by_exact_name_or_if_there_is_only_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"actions.*i3d_feature_extractor"):
        find_feature(tmp_path, "MSVD", "actions")
    write(tmp_path / "Other_actions.hdf5", ["a"])
    assert find_feature(tmp_path, "MSVD", "actions").name == "Other_actions.hdf5"
    write(tmp_path / "Third_actions.hdf5", ["a"])
    with pytest.raises(FileNotFoundError, match=r"Other_actions\.hdf5, Third_actions\.hdf5"):
        find_feature(tmp_path, "MSVD", "actions")
    write(tmp_path / "MSVD_actions.hdf5", ["a"])
    assert find_feature(tmp_path, "MSVD", "actions").name == "MSVD_actions.hdf5"


WRITER = """
import sys, time
import numpy as np
from utility.distributed import start
from utility.feature_store import FeatureWriter
dist = start("cpu")
with FeatureWriter(sys.argv[1], {"rate": 1}, dist) as writer:
    for number in dist.shard([n for n in range(int(sys.argv[2])) if f"v{n}" not in writer.done]):
        writer.write(f"v{number}", {"nodes": np.full((20, 9, 64), number), "rank": np.array(dist.rank)})
        print("wrote", flush=True)
        time.sleep(float(sys.argv[3]))
    writer.finish()
dist.stop()
"""


def test_two_processes_write_one_file(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WRITER)
    launch(script, tmp_path / "X.hdf5", 7, 0, processes=2)
    store = FeatureStore(tmp_path / "X.hdf5")
    assert len(store) == 7 and not list(tmp_path.glob("*.part"))
    assert {int(store[name]["rank"]) for name in store} == {0, 1}


def test_a_writer_killed_at_any_moment_loses_at_most_the_video_at_hand(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WRITER)
    path = tmp_path / "X.hdf5"
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, script, path, "40", "0.002"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        written = 0
        while written < 12:
            written += process.stdout.readline() == "wrote\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with FeatureWriter(path, {"rate": 1}) as writer:
        assert len(writer.done) >= 24
    launch(script, path, 40, 0)
    store = FeatureStore(path)
    assert len(store) == 40
    assert all((store[f"v{n}"]["nodes"] == n).all() for n in range(40))

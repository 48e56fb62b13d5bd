import numpy as np
import pytest

from utility.packed_arrays import pack, unpack


def test_arrays_of_all_kinds_come_back():
    rng = np.random.default_rng(0)
    arrays = {
        "half": rng.normal(size=(3, 2)).astype(np.float16),
        "strided": rng.normal(size=(4, 6)).astype(np.float32)[:, ::2],
        "mask": rng.random((2, 5)) < 0.5,
        "scalar": np.array(7),
        "none": np.empty((0, 4), np.float32),
        "big-endian": np.arange(3, dtype=">i4"),
    }
    attrs = {"source": "a\nb", "count": 3, "rows": [1.5, None]}
    found, noted = unpack(pack(arrays, attrs))
    assert noted == attrs and list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_objects_are_refused():
    with pytest.raises(ValueError, match="arrays of Python objects cannot be stored: x"):
        pack({"x": np.array([print])}, {})


def test_a_record_of_another_length_is_an_error():
    record = pack({"x": np.arange(4)}, {})
    with pytest.raises(ValueError, match="buffer is smaller than requested size"):
        unpack(record[:-8])
    with pytest.raises(ValueError, match="1 bytes too many after the arrays x"):
        unpack(record + b"x")

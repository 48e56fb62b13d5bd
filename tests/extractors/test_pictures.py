import numpy as np
import pytest
import torch

from extractors.pictures import Pictures


def filled(numbers):
    pictures = Pictures(numbers)
    for number in sorted(set(numbers), reverse=True):
        pictures.put(number, torch.full((3, 2, 2), number, dtype=torch.uint8)[:, :, :1])
    return pictures


def test_pictures_come_back_by_number_in_any_form():
    pictures = filled([9, 4, 4, 7])
    wanted = np.array([[7, 4], [4, 9]])
    taken = pictures.take(wanted)
    assert taken.shape == (2, 2, 3, 2, 1) and taken.dtype == torch.uint8
    assert np.array_equal(taken[:, :, 0, 0, 0].numpy(), wanted)


def test_all_of_them_in_order_are_no_copy():
    pictures = filled([2, 3, 5, 8])
    once, twice = pictures.take(np.array([[2, 3], [5, 8]])), pictures.take(np.array([2, 3, 5, 8]))
    assert once.data_ptr() == twice.data_ptr() and once.untyped_storage().nbytes() == once.numel()
    assert pictures.take(np.array([3, 2, 5, 8])).data_ptr() != once.data_ptr()


def test_a_frame_that_never_came_is_named():
    pictures = Pictures([1, 2, 3])
    with pytest.raises(RuntimeError, match=r"frames \[1, 2, 3\] were wanted and never seen"):
        pictures.take(np.array([1]))
    pictures.put(2, torch.zeros(1))
    with pytest.raises(RuntimeError, match=r"frames \[1, 3\] were wanted"):
        pictures.take(np.array([2]))

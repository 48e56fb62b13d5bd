"""A machine without Java, for tests that need no METEOR: its Java machine takes longer to start than what they test."""

import contextlib

import pytest
from launch import ENVIRONMENT


@contextlib.contextmanager
def without_java(path_of_children: str = ""):
    """Takes Java away from this process, and from programs started by `launch`.

    Args:
        path_of_children: PATH of those programs.
    """
    from utility import caption_tokens

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        patch.setitem(ENVIRONMENT, "PATH", path_of_children)
        caption_tokens.java_problem.cache_clear()
        yield
    caption_tokens.java_problem.cache_clear()

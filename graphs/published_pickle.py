"""Reads and writes the published graph pickles, {video: Data(x, edge_index, edge_attr as sparse.COO)}.

Reading runs no code of the file: every global that it names is looked up in a fixed table of inert records, numbers are
taken from their bytes, anything else is refused by name. Neither reading nor writing needs the `sparse` package, and
both hold one video at a time.
"""

import io
import pickle
import pickletools
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utility.whole_files import whole_file

NUMBERS = re.compile(r"[<>=|]?([biufc]\d{1,2}|\?)")


class PublishedFileError(ValueError):
    """A published file that cannot be what its name says."""


class UnsafePickle(PublishedFileError):
    """The file names something that a graph does not consist of, or its records are not what they should be."""


class _Inert(type):
    """Metaclass of records: a file can make instances, but not change the class."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise UnsafePickle(f"the file tries to change {cls.__name__}.{name}")


class _Function:
    """A function that a file may call, and do nothing else with."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise UnsafePickle(f"the file tries to change a function's {name}")

    def __setstate__(self, state: object) -> None:
        raise UnsafePickle("the file gives a state to a function")


class SparseCOO(metaclass=_Inert):
    """What a `sparse.COO` consists of: coords [ndim, nnz], data [nnz], shape, and the value of all other places."""

    __slots__ = ("coords", "data", "fill_value", "shape")

    def __init__(self, coords: np.ndarray, data: np.ndarray, shape: tuple[int, ...]) -> None:
        self.coords, self.data, self.shape, self.fill_value = coords, data, shape, data.dtype.type(0)

    def __getstate__(self) -> tuple:
        return self.coords, self.data, self.shape, self.fill_value

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            state = tuple(state.get(name) for name in ("coords", "data", "shape", "fill_value"))
        coords, self.data, self.shape = (*map(_plain, state[:2]), tuple(state[2]))
        self.coords = coords.astype(np.int64, copy=False)
        self.fill_value = _plain(state[3]) if len(state) > 3 else 0
        if self.coords.shape != (len(self.shape), len(self.data)) or self.fill_value:
            raise UnsafePickle(f"sparse array with coordinates {self.coords.shape} and shape {self.shape}")
        if (self.coords < 0).any() or (self.coords >= np.array(self.shape)[:, None]).any():
            raise UnsafePickle(f"sparse array with coordinates outside its shape {self.shape}")


class _DType(metaclass=_Inert):
    __slots__ = ("name",)

    def __new__(cls, name: str, *flags: object) -> "_DType":
        self = object.__new__(cls)
        self.name = str(name)
        if not NUMBERS.fullmatch(self.name):
            raise UnsafePickle(f"array of type {name!r}; only numbers are read")
        return self

    def __setstate__(self, state: tuple) -> None:
        order = state[1]
        if order not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
            raise UnsafePickle(f"array type with state {state!r}")
        self.name = order + self.name.lstrip("<>=|")


class _Array(metaclass=_Inert):
    """An ndarray between its creation and its contents."""

    __slots__ = ("value",)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if fortran else "C")


class _Store(metaclass=_Inert):
    """torch_geometric's storage: a mapping of names to values."""

    __slots__ = ("mapping",)

    def __setstate__(self, state: dict) -> None:
        self.mapping = state.get("_mapping", state)


class _Marker(metaclass=_Inert):
    """A class that files mention and nobody needs."""

    __slots__ = ()


def _array(raw: bytes, dtype: object, shape: tuple[int, ...], order: str = "C", *rest: object) -> np.ndarray:
    if isinstance(raw, str):  # written by Python 2
        raw = raw.encode("latin1")
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
        raise UnsafePickle("array whose contents are not plain numbers")
    return np.frombuffer(raw, np.dtype(dtype.name)).reshape(shape, order=order)


def _scalar(dtype: object, raw: bytes) -> object:
    return _array(raw, dtype, (1,))[0]


def _storage(raw: bytes) -> object:
    return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)


def _tensor(storage: object, offset: int, size: tuple, stride: tuple, *rest: object) -> np.ndarray:
    if not isinstance(storage, torch.storage.TypedStorage | torch.UntypedStorage):
        raise UnsafePickle("tensor without a storage")
    # as_strided refuses sizes that reach beyond the storage; setting them directly would enlarge it.
    whole = torch.empty(0, dtype=storage.dtype).set_(storage)
    return whole.as_strided(tuple(size), tuple(stride), int(offset)).numpy().copy()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise UnsafePickle(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _plain(value: object) -> np.ndarray:
    return value.value if isinstance(value, _Array) else np.asarray(value)


def _table(graph: type) -> dict[tuple[str, str], object]:
    """What the names in a file stand for; `graph` is the record of a `Data`."""
    known: dict[tuple[str, str], object] = {
        ("torch_geometric.data.data", "Data"): graph,
        ("torch_geometric.data.data", "DataEdgeAttr"): _Marker,
        ("torch_geometric.data.data", "DataTensorAttr"): _Marker,
        ("torch_geometric.data.storage", "GlobalStorage"): _Store,
        ("numpy", "ndarray"): _Marker,
        ("numpy", "dtype"): _DType,
        ("collections", "OrderedDict"): _Function(OrderedDict),
        ("_codecs", "encode"): _Function(_encode),
        ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
        ("torch.storage", "_load_from_bytes"): _Function(_storage),
    }
    for module in ("sparse", "sparse._coo.core", "sparse._coo", "sparse.coo", "sparse.numba_backend._coo.core"):
        known[module, "COO"] = SparseCOO
    for core in ("numpy.core", "numpy._core"):
        known[f"{core}.multiarray", "_reconstruct"] = _Function(lambda *_: _Array())
        known[f"{core}.multiarray", "scalar"] = _Function(_scalar)
        known[f"{core}.numeric", "_frombuffer"] = _Function(_array)
    return known


class _Memo(dict):
    """Remembers only what the file refers to again, so that the rest of a graph can go when the graph is read."""

    def __init__(self, needed: set[int]) -> None:
        super().__init__()
        self._needed = needed

    def __setitem__(self, key: int, value: object) -> None:
        super().__setitem__(key, value if key in self._needed else None)


# The C unpickler keeps everything until the end of the file; the Python one lets us choose.
class _Reader(pickle._Unpickler):
    def __init__(self, file: io.BufferedIOBase, known: dict[tuple[str, str], object]) -> None:
        gets = ("GET", "BINGET", "LONG_BINGET")
        needed = {int(index) for operation, index, _ in pickletools.genops(file) if operation.name in gets}
        file.seek(0)
        super().__init__(file)
        self.memo = _Memo(needed)
        self._known = known

    def find_class(self, module: str, name: str) -> object:
        try:
            return self._known[module, name]
        except KeyError:
            raise UnsafePickle(f"it names {module}.{name}, which is no part of a graph") from None


def read_graph_pickle(path: Path | str, compact: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """{video: compact({"x": array, "edge_index": array, "edge_attr": SparseCOO or array, ...})} of a published file.

    `compact` is called as soon as a graph is read, and what it does not return is forgotten.

    Raises:
        FileNotFoundError: no such file.
        PublishedFileError: not a pickle of graphs; the message says why.
        UnsafePickle: of these, what names anything else.
    """

    class Graph(metaclass=_Inert):
        __slots__ = ("result",)

        def __setstate__(self, state: dict) -> None:
            store = state.get("_store", state)
            values = store.mapping if isinstance(store, _Store) else store
            self.result = compact({name: v.value if isinstance(v, _Array) else v for name, v in values.items()})

    with open(path, "rb") as file:
        try:
            content = _Reader(file, _table(Graph)).load()
        except PublishedFileError as error:
            raise type(error)(f"{path} cannot be read as action graphs: {error}") from error
        except (
            pickle.UnpicklingError, EOFError, struct.error, ValueError, TypeError, KeyError, IndexError, AttributeError,
            RuntimeError, OverflowError, MemoryError, NotImplementedError,
        ) as error:  # fmt: skip
            raise PublishedFileError(f"{path} is not a readable pickle: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(graph, Graph) for graph in content.values()):
        raise PublishedFileError(f"{path} does not hold {{video: graph}}")
    return {str(name): graph.result for name, graph in content.items()}


class _Writer(pickle._Pickler):
    """Names `sparse.COO` and NumPy's functions as every version of the two packages finds them."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None) or ""
        if obj is SparseCOO:
            module, name = "sparse", "COO"
        elif module.startswith("numpy._core."):
            module, name = module.replace("numpy._core.", "numpy.core."), name or obj.__qualname__
        else:
            super().save_global(obj, name)
            return
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)


def write_graph_pickle(path: Path | str, graphs: Iterable[tuple[str, Any]]) -> int:
    """Writes {video: graph} one video at a time; returns their number. Protocol 3, which every Python 3 reads."""
    count = 0
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        writer = _Writer(file, protocol=3)
        file.write(pickle.PROTO + b"\x03" + pickle.EMPTY_DICT)
        for name, graph in graphs:
            writer.save(name)
            writer.save(graph)
            file.write(pickle.SETITEM)
            # Otherwise the writer would keep every graph alive; protocol 3 numbers what it remembers explicitly.
            writer.clear_memo()
            count += 1
        file.write(pickle.STOP)
    return count

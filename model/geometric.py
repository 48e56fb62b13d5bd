"""What this project takes from torch_geometric, in one place.

Importing torch_geometric compiles functions with torch.jit.script, which newer versions of PyTorch announce as
deprecated. Users can do nothing about that, so this one warning is not shown while this one import lasts.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
    from torch_geometric.data import Data, Dataset
    from torch_geometric.nn import MeanAggregation, TransformerConv

__all__ = ["Data", "Dataset", "MeanAggregation", "TransformerConv"]

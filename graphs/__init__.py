"""Features to action graphs, and action graphs to torch_geometric data sets."""

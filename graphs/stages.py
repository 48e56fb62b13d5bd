"""The graph stages: what each reads, what it writes, and the function between."""

from graphs.parts import (
    graph_part,
    graph_settings,
    object_rows,
    object_rows_settings,
    spatial_part,
    spatial_settings,
    temporal_part,
    temporal_settings,
)
from graphs.stage import Stage

SPATIAL = Stage(
    name="spatial_action_graph",
    sources=("", "actions"),
    target="_spatial",
    settings=spatial_settings,
    compute=lambda nodes, actions, device: spatial_part(nodes, actions),
)
TEMPORAL = Stage(
    name="temporal_similarity_graph",
    sources=("",),
    target="_temporal",
    settings=temporal_settings,
    compute=temporal_part,
)
ACTION_GRAPH = Stage(
    name="action_graph",
    sources=("", "_spatial", "_temporal"),
    target="_graph",
    settings=graph_settings,
    compute=lambda nodes, spatial, temporal, device: graph_part(nodes, spatial, temporal),
)
OBJECT_ROWS = Stage(
    name="object_rows",
    sources=("",),
    target="OFeat",
    settings=object_rows_settings,
    compute=lambda nodes, device: object_rows(nodes),
)
# In the order in which they build on one another.
GRAPH_STAGES = (SPATIAL, TEMPORAL, ACTION_GRAPH)

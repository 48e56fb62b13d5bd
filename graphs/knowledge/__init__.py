"""The knowledge graph of a corpus: captions to triples, triples to a graph, the graph to rows for every video."""

"""Rows of the benchmark: each measures the published formulation and this project's side by side."""

"""Launchers and programs that chain the stages."""

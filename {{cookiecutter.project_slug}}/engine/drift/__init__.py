"""Compares rows with those that a model was trained on: `make reference`, `make drift`."""

"""Compares the models of this checkout with others, on rows whose answers are known."""

"""Answers a whole file of rows with a model package: `python -m engine.scoring FILE`."""

"""Kinds of places that only the tests have: a folder each, as in ``engine/deploy/targets``."""

"""Datatypes and signatures: the words that every other part of the service speaks."""

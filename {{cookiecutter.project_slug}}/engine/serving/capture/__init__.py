"""Keeps a bounded sample of requests and answers, where a setting says so."""

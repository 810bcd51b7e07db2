"""Measures the generated service beside other servers, on one machine and in one run.

`make bench` (or `python -m benchmarks`) writes build/bench/results.{json,md} and benchmark.svg.
"""

"""Promises under stress: overload, stops, slow clients, a long run; each kept or broken."""

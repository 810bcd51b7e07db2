"""Asks a service that runs: is it ready, the right release, and right? For deploys and loads."""

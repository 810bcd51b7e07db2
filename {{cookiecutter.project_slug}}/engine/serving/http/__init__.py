"""HTTP: the inference endpoints as plain ASGI, everything else as a FastAPI application."""

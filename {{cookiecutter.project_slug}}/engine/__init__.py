"""The machinery of the service; see README.md. Updates replace this folder as a whole."""

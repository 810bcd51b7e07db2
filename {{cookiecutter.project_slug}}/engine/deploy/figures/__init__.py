"""The figures of a running service, for the terminal: from itself, and from Azure."""

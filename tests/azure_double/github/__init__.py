"""GitHub, as far as setting up and running a deployment asks it."""

"""An endpoint with two deployments behind it: a release is one of them, reached by a header."""

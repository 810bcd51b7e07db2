"""Azure Container Apps: the next release is a revision beside the one that serves."""

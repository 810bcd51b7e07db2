"""Model packages: a folder with a model file, its manifest and its golden record."""

"""Inference service: model packages in, predictions over HTTP out."""

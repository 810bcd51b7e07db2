"""What is not inference: probes, metadata, metrics, the documents of the API and the pages."""

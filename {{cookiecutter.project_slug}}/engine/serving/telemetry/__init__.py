"""What happened to each request: one record, from which metrics, log lines and spans are made."""

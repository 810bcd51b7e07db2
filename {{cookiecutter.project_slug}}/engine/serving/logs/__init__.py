"""Logs: one line on stderr for each event, written by a thread, bounded in lines a second."""

"""Questions to a real Azure subscription that no document answers; see README.md."""

"""What the scheduled workflows do with GitHub: pull requests and issues, through git and gh."""

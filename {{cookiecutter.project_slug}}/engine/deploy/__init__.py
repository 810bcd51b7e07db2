"""From this repository to running containers: the image, and where it runs."""

"""Train the models. Nothing here is part of the image; it needs requirements/train.txt."""

"""Two ways to say the same thing: the tutorial's `/predict` and the Open Inference Protocol."""

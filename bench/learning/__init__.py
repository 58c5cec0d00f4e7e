"""Learning side by side: the same questions, noise and budget for every method, and the gate on for all of them."""

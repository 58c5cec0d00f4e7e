"""Turns the log into a better model, and publishes it only if it is better."""

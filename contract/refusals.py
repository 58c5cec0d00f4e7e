"""The root of everything we understand and will not do."""


class Refusal(Exception):
    """Something understood and not done, with a message for whoever asked."""

"""Worlds to try the loop in; nothing that serves or trains imports them."""

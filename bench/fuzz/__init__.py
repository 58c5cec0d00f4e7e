"""Generated and hostile requests against the whole API of a real service."""

"""A product handbook whose policies mostly exist twice: superseded and current."""

"""What the verdicts of an LLM judge are worth: `make bench-judge`."""

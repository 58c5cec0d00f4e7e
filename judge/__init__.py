"""The LLM judge: takes answers that wait for a verdict, asks an LLM, posts feedback.  HTTP only."""

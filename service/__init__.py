"""Answers /rerank, explores a little, and remembers exactly what it did."""

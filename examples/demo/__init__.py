"""A RAG application on a machine of its own: it asks, Rankloop ranks, a reader answers, and the ranking gets better."""

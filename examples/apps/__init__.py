"""Small RAG apps, each about ten lines; what the LLM did with the documents reaches Rankloop without one of them."""

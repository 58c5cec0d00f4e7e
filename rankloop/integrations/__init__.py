"""Rerankers for LangChain, LlamaIndex and Haystack that report by themselves what the LLM did with the documents.

Each module needs its framework (the extra `langchain`, `llamaindex` or `haystack`) and knows nothing of the others;
what they share knows no framework.
"""

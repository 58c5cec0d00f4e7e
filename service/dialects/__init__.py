"""What existing clients say to a reranker, one module for each dialect: into one request, and out of one reply.

A client changes its URL and nothing else, so these bodies are read leniently: unknown fields are ignored, null is
absent, and "true" is true. Which dialect it is shows in the body alone, whatever the path; only Infinity's, whose
bodies look like others, has a path of its own.
"""

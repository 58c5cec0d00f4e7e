"""What an app installs: the command line, a client of the service, and rerankers for RAG frameworks."""

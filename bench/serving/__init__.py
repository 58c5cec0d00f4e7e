"""How fast the service is, how it behaves under load, and what it costs: docs/performance.md."""

"""The clients of other rerank APIs, as they are released, against a live service: `python -m bench.compat`.

What runs beside those packages (`inside`, `client`, `cases`, `overload`, `clients`) imports nothing but them and the
standard library.
"""

"""Side-by-side measurements: serving against peers, learning against baselines, the start against nothing."""

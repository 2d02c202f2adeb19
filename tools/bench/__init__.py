"""Benchmarks: each measures a peer or a bare library beside us in the same run, and prints losses before speed."""

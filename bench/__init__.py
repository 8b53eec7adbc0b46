"""Benchmarks, installed as nonet.bench."""

"""Side-by-side measurements, each one command: `python -m benchmarks.export_time`."""

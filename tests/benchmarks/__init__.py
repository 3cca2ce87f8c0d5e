"""What the benchmarks are held against."""

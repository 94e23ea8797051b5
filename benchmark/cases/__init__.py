"""What methods are handed, track by track; they import it from ``benchmark.api``."""

"""Stage 2: what customers asked for, and what has become of it."""

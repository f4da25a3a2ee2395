"""Stage 1: what is where, and what is promised."""

"""Which location fulfills which units, by when, and at what cost."""

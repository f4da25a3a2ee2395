"""The policy engine's documents: which reactions follow which events. Knows the reactions by name only."""

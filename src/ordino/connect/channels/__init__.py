"""Sales channels."""

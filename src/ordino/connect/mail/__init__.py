"""Message providers."""

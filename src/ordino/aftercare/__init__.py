"""Stage 8: what follows delivery: messages, returns, surveys."""

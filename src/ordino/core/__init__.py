"""What every stage stands on. It imports nothing else of Ordino."""

"""What it all comes to: the KPIs of order management, each defined once."""

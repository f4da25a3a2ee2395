"""The application: every stage's routes behind one door."""

"""Stage 7: parcels on their way, as their carriers tell it."""

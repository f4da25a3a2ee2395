"""Parcels that carriers bring back to the sender: received, unit by unit, and refunded or sent again."""

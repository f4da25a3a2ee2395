"""Stages 3-6: locations pick, pack and ship what was released to them."""

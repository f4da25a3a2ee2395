"""Adapters to the world outside, one folder a kind. They implement what the stages declare."""

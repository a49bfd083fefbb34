"""Bounds of every value of a network over a domain, rounding included: intervals and linear bounds."""

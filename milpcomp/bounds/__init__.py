"""Bounds of values of a network over a domain, rounding included: intervals, linear and semidefinite bounds."""

"""Deciding one pre-activation at a time by cases: split, bound, and keep what closed every leaf."""

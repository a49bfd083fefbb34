"""The book: every figure and table of the papers, published and measured here side by side."""

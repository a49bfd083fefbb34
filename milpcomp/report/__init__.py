"""Results for people: tables on a terminal, a page in Markdown, one figure."""

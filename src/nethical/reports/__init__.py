"""Reports, whatever they tell of: of which blocks they consist, as Markdown and as a page."""

"""Configurations: stored, searched for, judged against production, and promoted on evidence."""

"""The schema of the governance store, step by step (Alembic)."""

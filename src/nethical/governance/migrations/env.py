"""Run the migrations on the connection that the store hands over; there is no other way in."""

from __future__ import annotations

from alembic import context

from nethical.governance.tables import metadata

VERSION_TABLE = "nethical_schema"

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()

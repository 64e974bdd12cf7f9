"""An append-only log that anybody can check, offline and with programs of others."""

"""Model types, each behind the one protocol of `base`."""

"""Whether cohorts of predictions differ, by how much, and how sure that is."""

"""Tables: where they come from, what their columns are, and how they are split."""

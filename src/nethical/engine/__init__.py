"""Where many tasks are done at once: the seam behind which machines stand."""

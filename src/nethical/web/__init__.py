"""The pages: runs, models, drift, configurations and the review queue, in a browser."""

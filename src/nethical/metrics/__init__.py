"""Pure functions of labels and probabilities: how good, how calibrated, how sure."""

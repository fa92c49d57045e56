"""The bound on what a proof means: every weight is disturbed once, and the sweep must notice."""

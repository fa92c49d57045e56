"""Models without a contract: what their names and graph tell."""

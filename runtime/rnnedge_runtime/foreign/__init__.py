"""Models without a contract: what their names and their graph reveal."""

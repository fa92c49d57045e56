"""How much of a file a proof has seen: nodes that ran, branches taken, table rows looked up."""

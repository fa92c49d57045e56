"""What a model does when it is run, at sizes and on rows that are chosen."""

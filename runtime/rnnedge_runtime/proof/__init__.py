"""What can be proved of a model on the device itself."""

"""Models whose output is their next input: greedy and beam search over a stream."""

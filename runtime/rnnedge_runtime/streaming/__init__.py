"""Streams: running sequences whose state is kept between calls."""

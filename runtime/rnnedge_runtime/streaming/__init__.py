"""One running sequence whose state is kept between calls."""

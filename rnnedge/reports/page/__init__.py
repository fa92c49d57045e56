"""The parts of the HTML page, each a function from a report to an element or None."""

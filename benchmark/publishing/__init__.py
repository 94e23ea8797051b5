"""Published results, and where a submission would stand among them."""

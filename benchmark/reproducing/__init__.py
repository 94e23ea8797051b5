"""A cell again, what its id is made of, and how far its numbers are noise."""

"""The suite turned on a person's own network and pictures."""

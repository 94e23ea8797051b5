"""Methods that `potemkin new` starts from."""

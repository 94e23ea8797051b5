"""Track `fairwashing`: changed weights against maps of natural images."""

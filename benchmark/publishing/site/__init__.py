"""A static site of the published boards: one folder that opens from disk, and needs no network."""

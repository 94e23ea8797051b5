"""Files that people wrote, read as data: hashes, manifests, pictures, forms."""

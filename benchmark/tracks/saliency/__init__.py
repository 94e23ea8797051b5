"""Track `saliency`: input attacks on attribution maps."""

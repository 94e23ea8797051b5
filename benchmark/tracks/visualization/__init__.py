"""Track `visualization`: manipulated networks against feature visualization."""

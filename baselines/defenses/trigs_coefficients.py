"""Placeholder."""

CENTER: tuple[float, ...] = (0.0,) * 40
SCALE: tuple[float, ...] = (1.0,) * 40
WEIGHTS: tuple[float, ...] = (0.0,) * 40
INTERCEPT: float = 0.0

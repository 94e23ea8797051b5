"""Track `signature`: backdoored networks against input-agnostic saliency and other audits of classes."""

"""From methods and tasks to a store of finished steps: registry, plan, store, workers."""

"""What YAML names: tasks and suites, data, target pictures."""

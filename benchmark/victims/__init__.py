"""Networks under attack: what ``tasks/victims.yaml`` says of them, their weights, their architectures."""

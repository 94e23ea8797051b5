"""What a method is and what it is handed; cards, meters, triggers, forgeries handed in as files."""

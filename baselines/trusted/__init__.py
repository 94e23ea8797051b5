"""What a defender has of its own, beside what it is handed."""

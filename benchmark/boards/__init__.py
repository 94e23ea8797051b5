"""Views of what the store holds: tables, statistics, gates, boards, pictures."""

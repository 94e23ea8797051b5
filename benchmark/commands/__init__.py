"""What each command does; the terminal's words for them are in :mod:`benchmark.commands.cli`."""

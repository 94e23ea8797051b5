"""Writing a submission, checking it, handing it in."""

"""Boards for papers and spreadsheets: tables in LaTeX, Markdown, CSV and JSON, with what they cite."""

"""Programs for those who work on bnsharp."""

"""A report as one HTML page: what it holds (``page``), what is said of each document, and how it is written."""

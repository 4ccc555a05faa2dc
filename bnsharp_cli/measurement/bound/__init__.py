"""The PAC-Bayes bound of Theorem 3.3."""

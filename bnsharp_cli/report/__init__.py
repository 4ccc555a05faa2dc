"""Results as text, JSON and pictures.

- ``json_document.py`` writes documents of the schema ``bnsharp/1``.
- ``terminal.py`` prints measurements, rescaled copies and checks, ``bound.py`` a bound, ``reproduction.py`` the paper's
  experiments, and ``inspection.py``, with the tree of ``module_tree.py``, what a checkpoint holds.
- ``plots.py`` draws pictures.
"""

"""bnsharp inside other programs; each needs the extra of its name.

- ``lightning.py`` is a callback that logs BN-Sharpness while Lightning trains.
- ``pytest_plugin.py`` gives tests the fixture ``bnsharp``, whose assertions ``network_assertions.py`` makes.
- ``trackers.py`` sends the figures of ``bnsharp train`` to TensorBoard, MLflow or Weights & Biases.
"""

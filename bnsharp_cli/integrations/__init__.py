"""bnsharp inside other programs; each needs the extra of its name.

- ``lightning.py`` is a callback that logs BN-Sharpness while Lightning trains.
- ``trackers.py`` sends the figures of ``bnsharp train`` to TensorBoard, MLflow or Weights & Biases.
"""

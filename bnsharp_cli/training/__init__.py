"""Training: rules, options, the loop, and the paper's experiments.

- ``registry.py`` names every rule with its options, ``options.py`` has the options that all share; neither imports
  torch. ``ranges.py`` has the ranges of both.
- ``rules.py`` is what every rule is, ``parameter_groups.py`` what it trains, ``closures.py`` what computes its losses,
  and ``gradient_scaling.py`` how a ``GradScaler`` takes part; ``scaled_losses.py`` finds one that does so unasked.
  ``agreement.py`` is for several processes.
- ``sgds.py``, ``sam.py`` and ``entropy_sgd.py`` are rules, which take gradients at other parameters through
  ``displaced_parameters.py``.
- ``loop.py`` trains an epoch, with ``examples.py``, ``augmentation.py``, ``schedules.py`` and ``mixed_precision.py``;
  ``evaluation.py`` finds loss and accuracy, ``saved_state.py`` checks a state before it is taken over.
- ``divergence.py`` is what happens when a number grows beyond every range.
- ``paper_experiments.py`` has the experiments of Yi et al. as options.
"""

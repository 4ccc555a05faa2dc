"""Data: opened by a specification, preprocessed, drawn in batches, and compared with a network's answers by a loss.

- ``forms.py``: how data sets and losses are named; imports nothing.
- ``open_data.py``: from a specification to a split. ``sources.py`` has scikit-learn's digits, torchvision's data sets
  and the user's own; ``torchvision_files.py`` looks at the files of the second. ``archives.py`` has NumPy archives, by
  ``npz_members.py`` and ``npy_headers.py``; ``images.py`` folders of images, each read by ``image_files/``.
- ``text_files.py`` reads texts, ``tokenizing.py`` cuts them into tokens, ``text_networks.py`` knows what a network
  takes, and ``text_splits.py`` makes examples of them.
- ``splits.py``: what a split is, in arrays or read example by example. ``checked_split.py``: one that is read whole.
- ``batches.py``: the fixed batches of a measurement.
- ``preprocessing.py``: what is done to an image. ``library_preprocessing.py`` chooses it for a network;
  ``channel_statistics.py`` takes mean and standard deviation from the data.
- ``criteria.py``: the loss. ``labels.py``: which labels can belong to a network's answers.
- ``naming.py``: refusals name the data. ``reading_progress.py``: how far reading is.
"""

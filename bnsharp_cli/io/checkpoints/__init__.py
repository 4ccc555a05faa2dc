"""Checkpoints: what a file or directory says, which of its tensors are the weights, and whether these can be weights.

- ``checkpoint.py``: the record ``Checkpoint``, reading and writing one, and the table of formats. Begin here.
- ``formats.py``: what a format is. ``own_format.py``, ``common_formats.py`` and ``model_directory.py`` recognise and
  read one or several each: bnsharp's own; torch's, Lightning's, safetensors' and the distributed one; Hugging Face's.
- ``state_dicts.py``: which entries of a file are the weights, and their names without wrappers around the network.
  ``entries.py`` tells entries apart by their names, ``no_weights.py`` why none are weights.
- ``unread_objects.py``: objects beside them whose classes are not read.
- ``sound_weights.py``: which tensors can be weights.
- ``run_files.py``: the files of a training run.
"""

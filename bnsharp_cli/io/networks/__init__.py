"""Networks: built by name, recognised by their weights, and filled with them.

- ``forms.py``: how networks are named; imports nothing.
- ``constructors.py``: building one by name: whole, without drawing weights, or in outline on the meta device.
  ``factories.py`` imports the user's own functions.
- ``outlines.py``: names and shapes, and which dimensions the classes and the input channels decide.
  ``constructor_arguments.py`` reads arguments off the shapes. ``outline_index.py`` is the shipped index of outlines,
  ``architectures.json``, which ``index_file.py`` reads and ``tools/index_architectures.py`` writes.
- ``identify.py``: which network weights belong to. ``architecture_from_metadata.py`` tells what the file says of it;
  ``network_identity.py`` is the answer, and builds the network.
- ``huggingface_networks.py``: networks that transformers builds from a directory. ``known_networks.py`` lists those
  that it may build and their heads, ``declared_settings.py`` tells from which settings: ``setting_ranges.py`` and
  ``rotary_settings.py`` have the bounds.
- ``outline_limits.py``: how much may be built of what nobody but a file says.
- ``load_weights.py``: weights into a network, whatever was wrapped around either. ``weights_comparison.py`` tells how
  names and shapes differ, ``weight_norm.py`` handles weights that are kept as length and direction,
  ``earlier_names.py`` names of earlier versions of the libraries. ``own_network.py`` says how to build a network of
  which a head or stem is another one.
"""

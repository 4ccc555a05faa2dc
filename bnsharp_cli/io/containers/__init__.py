"""Untrusted bytes to plain content. Nothing of a file is executed, and nothing costs more than its size allows.

The rest of bnsharp calls ``read_container.read_container(path)``. The bytes then pass through, in this order:

1. ``untrusted_files``: a regular file of bearable size, opened once, unchanged until the end.
2. ``file_kinds``: its format by its first and last bytes; ``other_formats`` refuses by name what holds no weights.
3. The container, which must be exactly as its writer makes it: ``zip_files``, ``legacy_files``, ``safetensors_files``,
   ``distributed`` with ``distributed_tables``.
4. ``pickle_reader``: **here a hostile pickle is refused**. It calls nothing but the functions that it is given:
   ``stand_ins``, which make plain data, and ``tensor_plans`` with ``tensor_layouts``, which hold every tensor against
   the bytes that the file has.
5. ``torch_files``: only now does torch read it, as weights only.
6. ``plain_content``: a bounded walk over what torch has built makes plain containers and dense tensors of it.

``unsound_content`` is the error of steps 3 to 6; ``torch_files`` and ``distributed`` make a refusal of it that names
the file. ``remedies`` holds what a user can do. Whether the tensors are sound weights is asked in ``io/checkpoints``.
"""

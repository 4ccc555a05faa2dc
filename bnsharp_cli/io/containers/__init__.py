"""Untrusted bytes to plain content. Nothing of a file is executed, and nothing costs more than its size allows.

The rest of bnsharp calls ``read_container.read_container(path)``. What happens, in this order:

1. ``untrusted_files`` and ``folders`` open regular files of bearable size, once; only their descriptors are read.
2. ``limited_process`` starts ``limited_child``, an interpreter with little memory and time that loads nothing of torch.
3. There ``describe`` finds out what the files hold. ``file_kinds`` tells the format by the first and last bytes;
   ``other_formats`` refuses by name what holds no weights. A container must be exactly as its writer makes it:
   ``torch_files`` with ``zip_files`` and ``zip_directory``, ``legacy_files``, ``safetensors_files``, ``distributed``
   with ``distributed_tables``.
4. ``pickle_reader``: **here a hostile pickle is refused**. It calls nothing but the functions that it is given:
   ``stand_ins``, which make plain data, and ``tensor_plans`` with ``tensor_layouts``, which hold every tensor against
   the bytes that the file has. Any other name becomes an object that is not read, but for ``dangerous_names``.
5. ``content_writer`` makes a ``description`` of what was found: plain content, and where the bytes of tensors lie.
6. Here again, ``checked_description`` holds it against its own rules and against the files.
7. ``stored_bytes`` reads the files once, with digest and checksums; ``built_content`` makes tensors of the bytes.

``dtypes`` is the table of element types, ``bounded_json`` reads strangers' JSON. ``unsound_content`` is the error of
steps 3 to 7, of which ``describe`` and ``read_container`` make a refusal that names the file; ``remedies`` holds what a
user can do. Whether the tensors are sound weights is asked in ``io/checkpoints``.
"""

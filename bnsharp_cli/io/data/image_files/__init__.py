"""One image file of a stranger to pixels, at a cost that is known before anything is decoded.

``read_image.opened_image`` reads the file once. What its first bytes say decides which module looks at it: ``jpeg``,
``png``, ``bmp``, ``ppm``, ``tiff`` or ``webp``. Each reads the headers with code of our own, refuses what takes long or
much memory beside its pixels, and returns an ``outline.ImageOutline``: the size, what decoding takes, and the bytes
that Pillow gets. Those of JPEG, PNG and TIFF hold nothing but what pixels are made of: no text, no colour profile, no
Exif, no further image. Only then Pillow opens them, as that one format, and has to find the same size. ``silence``
keeps libtiff from writing to the terminal.
"""

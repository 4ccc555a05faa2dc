"""Files and text: opened only if they are regular files, written whole or not at all, shown only if printable."""

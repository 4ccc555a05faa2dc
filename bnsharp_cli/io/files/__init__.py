"""Files of this machine: opened only if they are files, written whole or not at all."""

"""``python -m bnsharp_cli``: the command, as ``torchrun -m`` starts it in several processes.

``python -m`` puts the working directory, where a stranger's files may lie, first on the path of modules. It is taken
off before anything else is imported. Only ``python -P -m bnsharp_cli`` keeps it off from the beginning.
"""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]
    from bnsharp_cli.cli.main import main

    main()
